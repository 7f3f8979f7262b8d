"""Where the bytes are and what they must hash to, asked of the place that keeps them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from riboswitch.origins import ByHand, HubFile, Packaged, Released, ZenodoFile
from riboswitch.released.network import (
    HEADERS,
    TIMEOUTS,
    RefusedError,
    TransientError,
    answers,
    check_address,
    check_status,
)

_PATIENT = 20.0
"""Seconds: huggingface_hub 0.36 tries again for itself, others do not."""

HASHES = {64: "sha256", 40: "git", 32: "md5"}
"""Kinds of hash by their number of hexadecimal digits; `git` is that of a blob."""


@frozen(kw_only=True)
class Located:
    """A file on a server.

    Attributes:
        url: Of its bytes.
        revision: The commit or the DOI.
        size: In bytes.
        hashes: What its content must hash to, by kind; never none.
        headers: To ask for it with.
    """

    url: str
    revision: str
    size: int
    hashes: Mapping[str, str]
    headers: Mapping[str, str] = field(factory=dict)


def locate(released: Released) -> Located:
    """Ask where a file is and what it must hash to.

    Raises:
        TransientError: Another try may do.
        RefusedError: The file is not there, or without a hash to check its content by.
    """
    source = released.source
    if isinstance(source, ByHand | Packaged):
        raise RefusedError(f"only a browser can fetch it from {source.page}")
    found = _at_the_hub(source) if isinstance(source, HubFile) else _at_zenodo(source)
    check_address(found.url)
    if found.size < 0:
        raise RefusedError(f"{found.url} is announced without a size")
    announced = found.hashes.get("sha256", released.sha256)
    if released.sha256 and announced != released.sha256:
        raise RefusedError(
            f"{found.url} is announced with the SHA-256 {announced}; {released.sha256} is known"
        )
    known = {"sha256": released.sha256} if released.sha256 else {}
    return Located(
        url=found.url,
        revision=found.revision,
        size=found.size,
        hashes={**found.hashes, **known},
        headers=found.headers,
    )


def _at_the_hub(source: HubFile) -> Located:
    """Resolve a revision to its commit. The etag is the content's SHA-256, or git's of a small one.

    `HF_ENDPOINT` and `HF_TOKEN` mean what they mean elsewhere.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented

    def address(revision: str) -> str:
        endpoint = os.environ.get("HF_ENDPOINT") or None
        return hf_hub_url(source.repo, source.file, revision=revision, endpoint=endpoint)

    found = _ask_the_hub(address(source.revision))
    commit, etag, size = found.commit_hash or "", (found.etag or "").lower(), found.size
    if not re.fullmatch("[0-9a-f]{40}", commit) or size is None:
        raise RefusedError(f"{address(source.revision)} is announced without a commit or a size")
    if re.fullmatch("[0-9a-f]{40}", source.revision) and commit != source.revision:
        raise RefusedError(f"{address(source.revision)} is announced as of the commit {commit}")
    return Located(
        url=address(commit),
        revision=commit,
        size=size,
        hashes=_hashes(etag, address(commit)),
        headers=_only_authorization(build_hf_headers()),
    )


def _ask_the_hub(url: str) -> Any:
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.errors import HfHubHTTPError

    check_address(url)
    start = time.monotonic()
    try:
        return get_hf_file_metadata(url, timeout=TIMEOUTS[0])
    except HfHubHTTPError as error:
        response = getattr(error, "response", None)
        if response is not None:  # a bad one counts as false in requests
            check_status(url, response.status_code, response.headers.get("Retry-After"))
        raise RefusedError(str(error)) from error
    except Exception as error:  # of requests, httpx or httpx2: it depends on the version
        why = f"the connection fails ({error})"
        if time.monotonic() - start > _PATIENT:
            raise RefusedError(why) from error
        raise TransientError(why) from error


def _only_authorization(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() == "authorization"}


def _at_zenodo(source: ZenodoFile) -> Located:
    """Let pooch follow the DOI to the record, its file's address and MD5."""
    from pooch.downloaders import ZenodoRepository, doi_to_repository

    with answers():
        record = doi_to_repository(source.doi, timeout=TIMEOUTS, headers=HEADERS)
        if not isinstance(record, ZenodoRepository):
            raise RefusedError(f"the DOI {source.doi} does not lead to Zenodo")
        answer = _zenodo_answer(record, source)
        checksums = _Checksums()
        record.populate_registry(checksums)
        sizes = {f.get("key", f.get("filename")): f for f in answer["files"]}
        found = sizes.get(source.file)
        if found is None:
            raise RefusedError(f"the record {source.doi} has no file {source.file!r}")
        url = record.download_url(source.file)
    return Located(
        url=url,
        revision=source.doi,
        size=int(found.get("size", found.get("filesize", -1))),
        hashes=_hashes(checksums.registry[source.file].rpartition(":")[2], url),
    )


class _Checksums:
    """What pooch writes checksums into, as `algorithm:hash`."""

    def __init__(self) -> None:
        self.registry: dict[str, str] = {}


def _zenodo_answer(record: Any, source: ZenodoFile) -> dict[str, Any]:
    """What Zenodo says of a record; pooch hands it on without a look at the status."""
    try:
        answer = record.api_response
    except ValueError as error:
        raise TransientError("Zenodo's answer cannot be understood") from error
    if not isinstance(answer, dict):
        raise TransientError("Zenodo's answer cannot be understood")
    if "files" not in answer:
        check_status(f"{record.base_api_url} for {source.doi}", int(answer.get("status", 404)))
    if str(answer.get("doi", "")).lower() != source.doi.lower():
        raise RefusedError(
            f"the DOI {source.doi} leads to the record of {answer.get('doi')}: it is not the one "
            "of a fixed version"
        )
    return dict(answer)


def _hashes(digits: str, url: str) -> dict[str, str]:
    """Tell the kind of a hash by its length; refuse to fetch what nothing can be compared with."""
    if len(digits) not in HASHES or not re.fullmatch("[0-9a-f]+", digits):
        raise RefusedError(f"{url} is announced without a hash of its content ({digits!r})")
    return {HASHES[len(digits)]: digits}
