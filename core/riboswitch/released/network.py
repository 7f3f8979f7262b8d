"""What can go wrong with a server, how long to be patient, and which addresses are safe."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

from attrs import define

from riboswitch._version import __version__

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
log = logging.getLogger("riboswitch")

TIMEOUTS = (10.0, 30.0)  # seconds to connect, and between two pieces of a body
TRIES = 5
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
HEADERS = {
    "User-Agent": f"riboswitch/{__version__}",
    "Accept-Encoding": "identity",  # a part of a compressed body cannot be gone on with
}
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_SAYS = {
    401: "it wants a login: for the Hub, set HF_TOKEN",
    403: "it does not give the file to you",
    404: "it has no such file",
    410: "the file is gone",
}


class FetchError(Exception):
    """Why a fetch failed."""


class TransientError(FetchError):
    """Another try may do."""

    def __init__(self, message: str, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RefusedError(FetchError):
    """Another try would do no better."""


class ChangedError(FetchError):
    """What the server sends is not what was announced."""


@define
class Patience:
    """Waits longer after each failure in a row, and gives up after so many tries."""

    tries: int = TRIES
    failures: int = 0

    def wait(self, error: TransientError, *, progress: bool = False) -> None:
        """Sleep until the next try; any progress since the last one starts the count anew."""
        self.failures = 1 if progress else self.failures + 1
        if self.failures >= self.tries:
            raise RefusedError(f"{error}, {self.tries} times") from error
        asked = _seconds(error.retry_after)
        seconds = min(LONGEST_WAIT, max(asked, FIRST_WAIT * 2 ** (self.failures - 1)))
        log.info("%s; the next try comes in %.0f s", error, seconds)
        time.sleep(seconds)


def patiently(action: Callable[[], T]) -> T:
    """Return what `action` returns, tried three times: who is offline should soon hear of it."""
    patience = Patience(tries=3)
    while True:
        try:
            return action()
        except TransientError as error:
            patience.wait(error)


def offline() -> str | None:
    """The variable that forbids to use the network, if one does."""
    for name in ("RIBOSWITCH_OFFLINE", "HF_HUB_OFFLINE"):
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            return name
    return None


def check_status(url: str, status: int, retry_after: str | None = None) -> None:
    """Raise what an HTTP status means; nothing for a good one."""
    host = urlsplit(url).netloc
    if status in _BUSY:
        raise TransientError(f"{host} answers {status}", retry_after)
    if status >= 400:
        raise RefusedError(f"{host} answers {status}: {_SAYS.get(status, 'it refuses')} ({url})")


def check_address(url: str, before: str | None = None) -> None:
    """Refuse what others could read or change on its way: all but https, and this machine."""
    parts = urlsplit(url)
    local = parts.scheme == "http" and _is_loopback(parts.hostname)
    if parts.scheme == "https" or (local and not (before or "").startswith("https:")):
        return
    raise RefusedError(
        f"{url} is no https address" + (f", and {before} leads to it" if before else "")
    )


@contextmanager
def session() -> Iterator[requests.Session]:
    """Open a connection that follows redirects only to safe addresses."""
    import requests

    with requests.Session() as opened:
        opened.headers.update(HEADERS)
        opened.hooks["response"].append(_check_redirect)
        yield opened


@contextmanager
def answers() -> Iterator[None]:
    """Turn what `requests` raises into `TransientError` or `RefusedError`."""
    import requests

    passing = (requests.ConnectionError, requests.Timeout, ConnectionError, TimeoutError)
    broken = (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)
    try:
        yield
    except (*passing, *broken) as error:
        raise TransientError(f"the connection fails ({_brief(error)})") from error
    except requests.RequestException as error:
        if (response := error.response) is not None:  # a bad one counts as false
            check_status(response.url, response.status_code, response.headers.get("Retry-After"))
        raise RefusedError(str(error)) from error


def _check_redirect(response: requests.Response, *_: Any, **__: Any) -> None:
    if response.is_redirect:
        try:
            check_address(urljoin(response.url, response.headers["Location"]), response.url)
        except RefusedError:
            response.close()
            raise


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def _seconds(retry_after: str | None) -> float:
    """Read the header Retry-After: seconds, or a date."""
    if retry_after is None:
        return 0
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0
    return (date.astimezone(timezone.utc) - datetime.now(timezone.utc)).total_seconds()


def _brief(error: BaseException) -> str:
    """The innermost reason: the outer ones are names of the library's own classes."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__
