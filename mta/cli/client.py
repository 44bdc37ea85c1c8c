"""The command line's half of the operator surface: JSON over HTTP on `data_dir/posthouse.sock`.

Who may open the socket is the operator; there is no key. The daemon's half is `api/operator`. What is asked:

| request | body or query | answer |
|---|---|---|
| GET  /operator/orgs | | page of Org |
| POST /operator/orgs | name, tier | Org |
| POST /operator/orgs/change | org, name, tier, review, per_minute, per_hour, per_day, usage | Org |
| POST /operator/orgs/clear | org, domain | Standing |
| POST /operator/orgs/delete | org | Org |
| GET  /operator/usage | org, period | period, sent, allowance, billable, price_per_1000_cents, cap_cents, projected_cents |
| GET  /operator/audit | org | page of AuditEntry |
| GET  /operator/keys | org | page of Key |
| POST /operator/keys | org, name, scopes, test, expires_at | Key with `secret` |
| POST /operator/keys/{id}/rename | name | Key |
| POST /operator/keys/{id}/revoke | | Key |
| GET  /operator/domains | org | page of Domain |
| POST /operator/domains | org, name, trust | Domain |
| GET  /operator/domains/{name}/records | org | Domain |
| POST /operator/domains/{name}/verify | org | Domain, looked up just now |
| POST /operator/domains/{name}/rotate | org, force | Domain with the new key's records |
| POST /operator/domains/{name}/trust, /disable, /enable | org | Domain |
| GET  /operator/dns/zone | bare | zone: a master file |
| DELETE /operator/domains/{name} | org | Domain |
| GET  /operator/queue | domain, site, org, status, older_than_s | page of Delivery; no status: what is not final |
| GET  /operator/queue/{id} | | message_id, deliveries, attempts; id of a delivery, or of a message for all of its |
| GET  /operator/queue/{id}/explain | | lines: why it is where it is, and what happens next and when |
| POST /operator/queue/{action} | ids, or filter (keys of GET), or all | changed (a count), skipped |
| GET  /operator/stats | | statuses (counts by name), sites |
| POST /operator/send | org or key, from, to, cc, subject, text, html | id, status, deliveries |
| POST /operator/submit | message (base64), sender, recipients, org, notify, ret, envid | id, status |
| GET  /operator/mailq | | page of Delivery with its message's size and sender |
| POST /operator/doctor | network | findings: check, level (ok, warn, fail), text, fix |
| POST /operator/backup | path (absolute), keep | path, size, removed |
| GET  /operator/suppressions | org, email, reason | page of Suppression |
| POST /operator/suppressions | org, email, reason | Suppression |
| DELETE /operator/suppressions/{id} | org | Suppression |
| GET  /operator/events | org, type, limit, follow | Events, one JSON object a line |

Page: `{"data": [...], "next_cursor": "..." or null}`; asked with `limit` (1 to 100) and `cursor`.
Org (Organization), Key (ApiKey), Delivery, attempts (Attempt) and Event have the fields of `mta.model`, with a lane by
its name. Domain: id, name, organization_id, status, trusted, records (purpose, type, name, value, priority, required,
status, found, explanation). Site: name, queued, connections, state, retry_at. Action: hold, release, retry, cancel; skipped: id, reason.
`org` is a name or an id. Times (`_at`) are epoch milliseconds; what is not known is null.
A refusal is a status of 400 or more with `{"error": {"code", "message", "field"}}`.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mta.errors import PosthouseError

PAGE = 100  # items asked for at once
CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 60  # domain verification waits for DNS

Json = dict[str, Any]


class DaemonNotRunning(PosthouseError):
    """Nobody listens on the socket."""

    code = "daemon_not_running"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost")
        self.path, self.timeout_s = path, timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_TIMEOUT_S)
        self.sock.connect(str(self.path))
        self.sock.settimeout(self.timeout_s)


class Client:
    """Asks the daemon; every method raises DaemonNotRunning, or PosthouseError with what the daemon refused."""

    def __init__(self, socket_path: Path) -> None:
        self.socket_path = socket_path

    def answers(self) -> bool:
        """Whether a daemon listens; a socket that this user may not open raises PosthouseError."""
        try:
            self._connect(None).close()
        except DaemonNotRunning:
            return False
        return True

    def get(self, path: str, **query: Any) -> Json:
        """The answer's JSON; parameters that are None or False are left out."""
        return self._ask("GET", _with(path, query))

    def post(self, path: str, body: Mapping[str, Any], timeout_s: float | None = ANSWER_TIMEOUT_S) -> Json:
        """The answer's JSON; keys that are None are left out of the body. `timeout_s` None: as long as it takes."""
        return self._ask("POST", path, {key: value for key, value in body.items() if value is not None}, timeout_s)

    def delete(self, path: str, **query: Any) -> Json:
        """The answer's JSON."""
        return self._ask("DELETE", _with(path, query))

    def pages(self, path: str, limit: int | None = None, **query: Any) -> Iterator[Json]:
        """The items of a list, page after page, at most `limit` of them."""
        left, cursor = limit, None
        while left is None or left > 0:
            page = self.get(path, **query, cursor=cursor, limit=PAGE if left is None else min(PAGE, left))
            yield from page["data"]
            left = None if left is None else left - len(page["data"])
            cursor = page["next_cursor"]
            if not cursor:
                return

    def lines(self, path: str, **query: Any) -> Iterator[Json]:
        """The objects of an answer that comes a line at a time, until its end; waits without limit between lines."""
        with self._answer("GET", _with(path, query), timeout_s=None) as answer:
            while line := answer.readline():
                if line.strip():  # an empty line only shows that the daemon is alive
                    yield json.loads(line)

    def _ask(
        self, method: str, path: str, body: Json | None = None, timeout_s: float | None = ANSWER_TIMEOUT_S
    ) -> Json:
        with self._answer(method, path, body, timeout_s) as answer:
            parsed: Json = json.loads(answer.read())
            return parsed

    @contextmanager
    def _answer(
        self, method: str, path: str, body: Json | None = None, timeout_s: float | None = ANSWER_TIMEOUT_S
    ) -> Iterator[http.client.HTTPResponse]:
        connection = self._connect(timeout_s)
        try:
            encoded = None if body is None else json.dumps(body).encode()
            connection.request(method, path, encoded, {"Content-Type": "application/json"} if encoded else {})
            answer = connection.getresponse()
            if answer.status >= 400:
                raise _refusal(answer.status, answer.read())
            yield answer
        except (http.client.HTTPException, ConnectionError, TimeoutError, json.JSONDecodeError) as error:
            raise PosthouseError(
                f"The daemon at {self.socket_path} did not finish its answer ({error or type(error).__name__}); "
                "its log says why."
            ) from error
        finally:
            connection.close()

    def _connect(self, timeout_s: float | None) -> _UnixConnection:
        connection = _UnixConnection(self.socket_path, timeout_s)
        try:
            connection.connect()
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            connection.close()
            raise DaemonNotRunning(
                f"No daemon answers at {self.socket_path}. Start it with `posthouse serve`, or name its configuration "
                "with --config or POSTHOUSE_CONFIG."
            ) from error
        except OSError as error:
            connection.close()
            raise PosthouseError(
                f"{self.socket_path} cannot be opened: {error.strerror or error}. Run this as the user of the daemon.",
                code="socket_refused",
            ) from error
        return connection


def _with(path: str, query: Mapping[str, Any]) -> str:
    given = {
        key: "true" if value is True else value
        for key, value in query.items()
        if value is not None and value is not False
    }
    return f"{path}?{urlencode(given)}" if given else path


def _refusal(status: int, body: bytes) -> PosthouseError:
    try:
        error = json.loads(body)["error"]
        return PosthouseError(str(error["message"]), code=str(error["code"]), field=error.get("field"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return PosthouseError(f"The daemon answered {status} without a reason; its log says more.")
