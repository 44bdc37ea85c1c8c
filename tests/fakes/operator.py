"""The operator surface as a script: the command line's peer where no store is needed."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = Any  # JSON, a list of objects (one a line), or (status, JSON)


class Daemon:
    """Answers requests on a socket from `answers`, and keeps them in `asked` as (method, path, query or body)."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str, Any]] = []

    @contextmanager
    def listening(self, path: Path) -> Iterator[None]:
        daemon = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                url = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                daemon.asked.append((self.command, url.path, json.loads(body) if body else query))
                answer = daemon.answers[f"{self.command} {url.path}"]
                if callable(answer):
                    answer = answer(query)
                status, answer = answer if isinstance(answer, tuple) else (200, answer)
                self.send_response(status)
                self.end_headers()
                lines = answer if isinstance(answer, list) else [answer]
                self.wfile.write("\n\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines).encode())

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 (http.server looks for these names)

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()
                path.unlink()
