"""A real DNS server on loopback (UDP and TCP) that answers from a literal of records.

    with FakeDns({"example.org": {"MX": [(10, "mx.example.org")], "TXT": ["v=spf1 -all"]},
                  "mx.example.org": {"A": ["127.0.0.1"]},
                  "broken.example": SERVFAIL, "mute.example": SILENT}) as dns:
        Resolver([dns.server])

A name maps to its records by type, to SERVFAIL, REFUSED or SILENT, or is absent: NXDOMAIN. A type may map to
those too. `records` may be changed at any time; `queries` counts what was asked, by (name, type). It runs in threads
of its own, so it serves asyncio tests, plain ones and daemons in other processes alike.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

SERVFAIL = "SERVFAIL"
REFUSED = "REFUSED"
SILENT = "SILENT"
_RCODES = {SERVFAIL: dns.rcode.SERVFAIL, REFUSED: dns.rcode.REFUSED}

Records = dict[str, Any]


class FakeDns:
    """`server` is what a resolver is given ("127.0.0.1:port"); `hold` keeps answers back until `release`."""

    def __init__(self, records: Mapping[str, Any] | None = None, ttl: int = 300, authenticated: bool = False) -> None:
        self.records: Records = dict(records or {})
        self.ttl = ttl
        self.authenticated = authenticated
        self.unsigned: set[str] = set()  # names whose answers are not authenticated in any case
        self.queries: Counter[tuple[str, str]] = Counter()
        self.tcp_queries = 0
        self._open = threading.Event()
        self._open.set()
        self._udp, self._tcp = self._bind()
        self._threads = [threading.Thread(target=s.serve_forever, args=(0.05,), daemon=True) for s in self._servers]

    @property
    def server(self) -> str:
        return f"127.0.0.1:{self._udp.server_address[1]}"

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def __enter__(self) -> FakeDns:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    async def __aenter__(self) -> FakeDns:
        return self.__enter__()

    async def __aexit__(self, *exc: object) -> None:
        self.__exit__()

    @property
    def _servers(self) -> tuple[_Udp, _Tcp]:
        return self._udp, self._tcp

    def _bind(self) -> tuple[_Udp, _Tcp]:
        while True:
            udp = _Udp(("127.0.0.1", 0), _UdpHandler)
            try:
                tcp = _Tcp(udp.server_address, _TcpHandler)
            except OSError:  # somebody has that port for TCP
                udp.server_close()
                continue
            udp.fake = tcp.fake = self
            return udp, tcp

    def answer(self, wire: bytes, tcp: bool) -> bytes | None:
        """The reply to one question; None: none."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.queries[name, kind] += 1
        self.tcp_queries += tcp
        self._open.wait(30)
        reply = dns.message.make_response(query, recursion_available=True)
        if self.authenticated and name not in self.unsigned:
            reply.flags |= dns.flags.AD
        if not self._fill(reply, name, kind):
            return None
        size = 65535 if tcp else max(512, query.payload)
        try:
            return reply.to_wire(max_size=size)
        except dns.exception.TooBig:
            short = dns.message.make_response(query)
            short.flags |= dns.flags.TC
            return short.to_wire()

    def _fill(self, reply: dns.message.Message, name: str, kind: str) -> bool:
        for _ in range(9):  # a chain of CNAMEs
            entry = self.records.get(name)
            found = entry.get(kind, []) if isinstance(entry, Mapping) else entry
            if found == SILENT:
                return False
            if isinstance(found, str):
                reply.set_rcode(_RCODES[found])
                return True
            if entry is None:
                reply.set_rcode(dns.rcode.NXDOMAIN)
            elif found:
                reply.answer.append(self._rrset(name, kind, found))
                return True
            elif "CNAME" in entry:
                reply.answer.append(self._rrset(name, "CNAME", entry["CNAME"]))
                name = entry["CNAME"][0].rstrip(".")
                continue
            soa = f"ns.{name}. hostmaster.{name}. 1 3600 600 86400 {self.ttl}"
            reply.authority.append(dns.rrset.from_text(f"{name}.", self.ttl, "IN", "SOA", soa))
            return True
        return True

    def _rrset(self, name: str, kind: str, values: Any) -> dns.rrset.RRset:
        return dns.rrset.from_text_list(f"{name}.", self.ttl, "IN", kind, [_text(kind, value) for value in values])


def _text(kind: str, value: Any) -> str:
    """A value of the literal as a zone file has it."""
    if kind == "MX":
        return f"{value[0]} {value[1].rstrip('.')}."
    if kind in ("CNAME", "NS", "PTR"):
        return f"{value.rstrip('.')}."
    if kind == "TXT":
        octets = value.encode()
        parts = [octets[n : n + 255] for n in range(0, len(octets), 255)] or [b""]
        return " ".join('"' + "".join(f"\\{octet:03d}" for octet in part) + '"' for part in parts)
    return str(value)


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    block_on_close = False
    fake: FakeDns


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    fake: FakeDns


class _UdpHandler(socketserver.BaseRequestHandler):
    server: _Udp

    def handle(self) -> None:
        wire, sock = self.request
        reply = self.server.fake.answer(wire, tcp=False)
        if reply:
            with contextlib.suppress(OSError):  # the server stops
                sock.sendto(reply, self.client_address)


class _TcpHandler(socketserver.StreamRequestHandler):
    server: _Tcp

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while size := self.rfile.read(2):
                reply = self.server.fake.answer(self.rfile.read(int.from_bytes(size, "big")), tcp=True)
                if reply is None:
                    self.request.shutdown(socket.SHUT_RDWR)
                    return
                self.wfile.write(len(reply).to_bytes(2, "big") + reply)
