"""One file over HTTP: goes on after a break, and keeps nothing that was not asked for."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from attrs import define

from riboswitch.files import storage_errors
from riboswitch.progress import Progress
from riboswitch.released.network import (
    TIMEOUTS,
    ChangedError,
    Patience,
    TransientError,
    answers,
    check_status,
    session,
)
from riboswitch.released.parts import PartGoneError, check_kept
from riboswitch.released.sources import Located

if TYPE_CHECKING:
    import requests

CHUNK = 1 << 16  # what a break or a kill can lose


def download(found: Located, part: Path, report: Progress | None = None) -> None:
    """Append to a part until it is as long as the file.

    Raises:
        ChangedError: The server sends another file than was announced.
        RefusedError: It does not send it, or too little of it too often.
        PartGoneError: Another process removed the part, or took it.
        ResourceError: The disk is full; what was received stays.
    """
    with storage_errors(part), session() as http, part.open("ab") as file:
        transfer = _Transfer(found, part, file, report or (lambda *_: None))
        patience = Patience()
        most = file.tell()
        while file.tell() < found.size:
            try:
                with answers():
                    transfer.receive(http)
            except TransientError as error:
                patience.wait(error, progress=file.tell() > most)
            most = max(most, file.tell())


@define
class _Transfer:
    found: Located
    part: Path
    file: BinaryIO
    report: Progress
    etag: str | None = None

    def receive(self, http: requests.Session) -> None:
        """Ask for what is missing, and write what comes."""
        url, headers = self.found.url, {**self.found.headers, **self._range()}
        with http.get(url, headers=headers, stream=True, timeout=TIMEOUTS) as response:
            self._check(response)
            self._go_to(self._start(response))
            for chunk in response.iter_content(CHUNK):
                self._write(chunk)
        if self.file.tell() < self.found.size:
            raise TransientError(f"the server stops after {self.file.tell()} bytes")

    def _range(self) -> dict[str, str]:
        """Headers that ask for the rest; for all of it if the file is another one by now."""
        if not (have := self.file.tell()):
            return {}
        unchanged = {"If-Range": self.etag} if self.etag else {}
        return {"Range": f"bytes={have}-", **unchanged}

    def _check(self, response: requests.Response) -> None:
        if response.status_code == 416:
            raise ChangedError(f"{self.found.url} is shorter than announced")
        check_status(response.url, response.status_code, response.headers.get("Retry-After"))
        etag = response.headers.get("ETag", "")
        strong = etag if etag.startswith('"') else None  # a weak one may stand for other bytes
        if self.etag and strong and strong != self.etag:
            raise ChangedError(f"{self.found.url} was replaced by another file")
        self.etag = strong or self.etag

    def _start(self, response: requests.Response) -> int:
        """Where in the file the body begins, by what the server says of it."""
        if response.status_code != 206:
            plain = "Content-Encoding" not in response.headers
            self._check_size(response.headers.get("Content-Length", "*") if plain else "*")
            return 0
        said = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", said)
        if match is None or int(match[1]) != self.file.tell():
            self._go_to(0)  # without a Range the next try cannot be misunderstood
            raise TransientError(f"the server sends the wrong range ({said!r})")
        self._check_size(match[2])
        return int(match[1])

    def _check_size(self, said: str) -> None:
        if said not in ("*", str(self.found.size)):
            raise ChangedError(
                f"{self.found.url} has {said} bytes, not the {self.found.size} announced"
            )

    def _go_to(self, start: int) -> None:
        if start != self.file.tell():
            self.file.seek(start)
            self.file.truncate()

    def _write(self, chunk: bytes) -> None:
        if self.file.tell() + len(chunk) > self.found.size:
            raise ChangedError(
                f"{self.found.url} is longer than the {self.found.size} bytes announced"
            )
        check_kept(self.part)
        try:
            self.file.write(chunk)
            self.file.flush()  # a kill loses no more than what is on its way
        except OSError as error:
            if error.errno == errno.ESTALE:  # NFS: removed on another machine
                raise PartGoneError(self.part) from error
            raise
        self.report(self.file.tell(), self.found.size)
