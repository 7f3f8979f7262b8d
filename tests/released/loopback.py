"""A server on this machine that answers like the Hub and like Zenodo, and can misbehave."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c0ffee" * 6 + "c0de"
DOI = "10.5281/zenodo.77"


@dataclass
class Fault:
    """How one answer goes wrong; each is used up by one request for the content."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # bytes after which the connection is closed
    stall: float = 0  # seconds of silence before that
    flip: int | None = None  # place of a byte that is changed
    ignore_range: bool = False
    ignore_if_range: bool = False
    content_range: str | None = None
    extra: bytes = b""  # sent after the end, without a Content-Length
    swap: bytes | None = None  # the content is another one from the next request on


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    status: int = 0


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.faults: list[Fault] = []
        self.head_faults: list[Fault] = []
        self.requests: list[Request] = []
        self.sent = 0  # bytes of content
        self.rate: float | None = None  # bytes per second
        self.etag: str | None = None  # None: the SHA-256
        self.send_etag = True
        self.said_commit: str | None = None  # None: the right one
        self.stopped = threading.Event()
        self.commit = COMMIT
        self.doi = DOI
        self.record: dict[str, Any] = {}

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that go away."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def downloads(self) -> list[Request]:
        """Requests for the content."""
        return [r for r in self.requests if r.method == "GET" and "/content/" in r.path]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def _route(self) -> None:
        self.note = Request(
            self.command, self.path, {k.lower(): v for k, v in self.headers.items()}
        )
        self.server.requests.append(self.note)
        with suppress(BrokenPipeError, ConnectionResetError):
            if "/content/" in self.path:
                self._content()
            elif self.path.startswith("/doi.org/"):
                self._plain(302, {"Location": "https://zenodo.org/records/77"})
            elif self.path.startswith("/zenodo.org/api/records/"):
                self._zenodo()
            elif self.path.startswith("/zenodo.org/"):
                self._plain(200)
            else:
                self._hub()

    def send_response(self, code: int, message: str | None = None) -> None:
        self.note.status = code
        super().send_response(code, message)

    def _plain(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _fault(self, faults: list[Fault]) -> Fault:
        return faults.pop(0) if faults else Fault()

    def _hub(self) -> None:
        """As huggingface.co answers for a large file: the facts, and the way to a CDN."""
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        if match is None or match[2] not in ("main", self.server.commit):
            return self._plain(404)
        if self.command == "HEAD":
            fault = self._fault(self.server.head_faults)
            if fault.status:
                return self._plain(fault.status, fault.headers)
        said = self.server.said_commit
        return self._plain(
            302,
            {
                "X-Repo-Commit": said if said is not None else self.server.commit,
                "X-Linked-Size": str(len(self.server.content)),
                "X-Linked-Etag": f'"{self.server.etag or self.server.sha256}"',
                "ETag": '"of-the-redirect"',
                # Another host, as the CDN is.
                "Location": f"http://localhost:{self.server.server_port}/content/{match[3]}?sig=1",
            },
        )

    def _zenodo(self) -> None:
        fault = self._fault(self.server.head_faults)
        if fault.status:
            body = fault.extra or json.dumps({"status": fault.status, "message": "no"}).encode()
            return self._plain(fault.status, fault.headers, body)
        content = self.server.content
        file = {
            "key": "model.pt",
            "size": len(content),
            "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
            "links": {"self": "https://zenodo.org/api/records/77/files/content/model.pt"},
        }
        answer = {"id": 77, "doi": self.server.doi, "files": [file], **self.server.record}
        return self._plain(200, body=json.dumps(answer).encode())

    def _content(self) -> None:
        server, fault = self.server, self._fault(self.server.faults)
        content = server.content
        if fault.swap is not None:
            server.content = fault.swap
        if fault.status:
            return self._plain(fault.status, fault.headers)
        etag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
        start = self._start(fault, etag)
        if start is not None and start >= len(content):
            return self._plain(416, {"Content-Range": f"bytes */{len(content)}"})
        body = bytearray(content)
        if fault.flip is not None:
            body[fault.flip] ^= 1
        body = body[start or 0 :]
        self.send_response(200 if start is None else 206)
        if server.send_etag:
            self.send_header("ETag", etag)
        if start is not None:
            said = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", fault.content_range or said)
        if not fault.extra:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self._send((bytes(body) + fault.extra)[: fault.cut])
        server.stopped.wait(fault.stall)
        self.close_connection = True
        return None

    def _start(self, fault: Fault, etag: str) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match is None or fault.ignore_range:
            return None
        condition = self.headers.get("If-Range")
        if condition and condition != etag and not fault.ignore_if_range:
            return None
        return int(match[1])

    def _send(self, body: bytes) -> None:
        for start in range(0, len(body), 8192):
            piece = body[start : start + 8192]
            self.wfile.write(piece)
            self.server.sent += len(piece)
            if self.server.rate:
                time.sleep(len(piece) / self.server.rate)


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    server = Server()
    server.content = content
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def in_the_place_of_zenodo(server: Server) -> Iterator[None]:
    """Send what goes to https://doi.org and https://zenodo.org to the server; nobody notices."""
    from requests.adapters import HTTPAdapter

    real = HTTPAdapter.send

    def send(self: Any, request: Any, *arguments: Any, **options: Any) -> Any:
        match = re.fullmatch(r"https://((?:doi|zenodo)\.org/.*)", request.url)
        if match is None:
            return real(self, request, *arguments, **options)
        moved = request.copy()
        moved.url = f"{server.endpoint}/{match[1]}"
        response = real(self, moved, *arguments, **options)
        response.url, response.request = request.url, request
        return response

    HTTPAdapter.send = send  # type: ignore[method-assign]  # for a while
    try:
        yield
    finally:
        HTTPAdapter.send = real  # type: ignore[method-assign]  # for a while
