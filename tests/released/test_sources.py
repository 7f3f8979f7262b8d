"""Where a released file is: the Hub, Zenodo, a package or a page, and what is believed of them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from attrs import evolve
from tests.released.fetching import CONTENT, HUB, fails, folder, make_entry, names
from tests.released.loopback import COMMIT, DOI, Fault

import riboswitch
from riboswitch.errors import CheckpointError
from riboswitch.origins import ByHand, HubFile, Packaged, ZenodoFile
from riboswitch.registry import registry
from riboswitch.released import check, fetch, is_here, read_provenance, released_path
from riboswitch.released.network import RefusedError, check_address
from riboswitch.released.sources import locate

AT_ZENODO = {
    "key": "model.pt",
    "size": len(CONTENT),
    "checksum": f"md5:{'0' * 32}",
    "links": {"self": "https://zenodo.org/x"},
}


def test_what_a_package_brings_is_taken_from_there():
    source = Packaged(package="riboswitch", files=("noise.py", "span.py"))
    home = Path(riboswitch.__file__).parent / "masking"
    known = hashlib.sha256((home / "noise.py").read_bytes()).hexdigest()
    entry = make_entry(source, "masking", sha256=known)
    assert fetch(entry) == released_path(entry) == home
    assert is_here(entry) and check(entry).sha256 == known
    assert not folder().exists()
    wrong = make_entry(source, "masking", sha256="0" * 64)
    with pytest.raises(CheckpointError, match=r"(?s)is damaged: .*install it again"):
        check(wrong)
    with pytest.raises(CheckpointError, match="a part of the package"):
        fetch(make_entry(source, "gone"))


def test_a_file_from_the_hub_is_pinned_to_a_commit_checked_and_recorded(server):
    seen: list[tuple[int, int]] = []
    path = fetch(make_entry(), report=lambda *counts: seen.append(counts))
    assert path.read_bytes() == CONTENT
    assert names() == {"model.pt", "model.pt.json"}
    record = read_provenance(path)
    assert record.sha256 == server.sha256
    assert (record.size, record.licence) == (len(CONTENT), "MIT")
    assert record.revision == COMMIT
    assert record.url == f"{server.endpoint}/lab/model/resolve/{COMMIT}/model.pt"
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert server.sent == len(CONTENT)
    assert server.downloads[0].headers["accept-encoding"] == "identity"
    fetch(make_entry())
    assert len(server.downloads) == 1


def test_the_token_goes_to_the_hub_and_nowhere_else(server):
    fetch(make_entry())
    hub = [r for r in server.requests if "/resolve/" in r.path]
    assert all(r.headers["authorization"] == "Bearer hf_secret" for r in hub)
    assert all("authorization" not in r.headers for r in server.downloads)


def test_a_file_from_zenodo_is_checked_by_its_md5(server):
    entry = make_entry(ZenodoFile(doi=DOI, file="model.pt"))
    path = fetch(entry)
    assert path.read_bytes() == CONTENT
    assert read_provenance(path).revision == DOI
    assert read_provenance(path).sha256 == server.sha256


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"doi": "10.5281/zenodo.76"}, "not the one of a fixed version"),
        ({"files": []}, "has no file 'model.pt'"),
        ({"files": [{**AT_ZENODO, "checksum": ""}]}, "without a hash"),
        ({"files": [{**AT_ZENODO, "size": -1}]}, "without a size"),
        ({"files": [{**AT_ZENODO, "links": {"self": "http://zenodo.org/x"}}]}, "no https address"),
    ],
)
def test_a_record_at_zenodo_that_does_not_fit_is_refused(server, change, says):
    server.record = change
    fails(make_entry(ZenodoFile(doi=DOI, file="model.pt")), says)
    assert not server.downloads


def test_zenodo_may_be_busy_for_a_while(server):
    entry = make_entry(ZenodoFile(doi=DOI, file="model.pt"))
    server.head_faults = [Fault(status=503, extra=b"<html>"), Fault(status=429)]
    assert fetch(entry).read_bytes() == CONTENT


def test_what_zenodo_does_not_know_is_said_at_once(server):
    server.head_faults = [Fault(status=404)]
    fails(make_entry(ZenodoFile(doi=DOI, file="model.pt")), "answers 404")


def test_a_small_file_of_the_hub_is_checked_by_its_git_hash(server):
    server.etag = hashlib.sha1(b"blob %d\0%s" % (len(CONTENT), CONTENT)).hexdigest()
    assert fetch(make_entry()).read_bytes() == CONTENT
    server.etag = "0" * 40
    folder().joinpath("model.pt").unlink()
    fails(make_entry(), f"has the git [0-9a-f]{{40}}, not {'0' * 40}")


def test_nothing_is_fetched_that_cannot_be_checked(server):
    server.etag = "of-no-content"
    fails(make_entry(), "without a hash of its content")
    assert not server.downloads


@pytest.mark.parametrize(
    ("url", "before", "safe"),
    [
        ("https://zenodo.org/x", None, True),
        ("https://cdn.example/x", "http://127.0.0.1:1/x", True),
        ("http://127.0.0.1:80/x", None, True),
        ("http://localhost:80/x", "http://[::1]:1/x", True),
        ("http://zenodo.org/x", None, False),
        ("http://127.0.0.1.example.org/x", None, False),
        ("http://127.0.0.1:pass@example.org/x", None, False),
        ("http://localhost/x", "https://zenodo.org/x", False),
        ("ftp://zenodo.org/x", None, False),
        ("file:///etc/passwd", "https://zenodo.org/x", False),
    ],
)
def test_only_safe_addresses_are_asked(url, before, safe):
    if safe:
        check_address(url, before)
        return
    with pytest.raises(RefusedError, match="is no https address"):
        check_address(url, before)


def test_a_redirect_to_an_unsafe_address_is_not_followed(server):
    server.faults = [Fault(status=302, headers={"Location": "http://example.org/x"})]
    fails(make_entry(), r"http://example\.org/x is no https address, and .* leads to it")


def test_an_unsafe_endpoint_is_not_asked(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org")
    fails(make_entry(), "no https address")


def test_a_known_hash_counts_more_than_an_announced_one(server):
    fails(make_entry(sha256="0" * 64), f"SHA-256 {server.sha256}; {'0' * 64} is known")
    assert not server.downloads
    zenodo = ZenodoFile(doi=DOI, file="model.pt")
    fails(make_entry(zenodo, sha256="0" * 64), f"not {'0' * 64}")
    assert names() == set()
    assert fetch(make_entry(zenodo, sha256=server.sha256)).read_bytes() == CONTENT


def test_a_pinned_commit_must_be_the_one_that_answers(server):
    assert locate(make_entry(evolve(HUB, revision=COMMIT)).released).size == len(CONTENT)
    fails(make_entry(evolve(HUB, revision="d" * 40)), "404")
    server.said_commit = "d" * 40
    fails(make_entry(evolve(HUB, revision=COMMIT)), f"as of the commit {'d' * 40}")
    server.said_commit = ""
    fails(make_entry(), "without a commit")
    assert not server.downloads


def test_an_unreachable_network_says_where_the_file_belongs(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    fails(make_entry(), "the connection fails")


def test_what_only_a_browser_fetches_comes_with_instructions(server):
    entry = make_entry(ByHand(page="https://drive.example/x", files=("a", "b")), "weights")
    with pytest.raises(CheckpointError) as caught:
        fetch(entry)
    text = str(caught.value)
    assert "a and b from https://drive.example/x" in text
    assert f"into the folder {folder() / 'weights'}," in text.splitlines()[-1]
    (folder() / "weights").mkdir(parents=True)
    (folder() / "weights" / "a").touch()
    with pytest.raises(CheckpointError, match="fetch b from"):
        fetch(entry)
    (folder() / "weights" / "b").touch()
    assert fetch(entry) == fetch(entry, force=True) == folder() / "weights"
    assert not server.requests


def test_the_weights_of_every_model_are_pinned_or_by_hand():
    for entry in registry().models.values():
        source = entry.released.source if entry.released else None
        if isinstance(source, HubFile):
            assert re.fullmatch("[0-9a-f]{40}", source.revision), entry.name
        if isinstance(source, ZenodoFile):
            assert re.fullmatch(r"10\.5281/zenodo\.\d+", source.doi), entry.name
        if source and entry.released.sha256:
            assert re.fullmatch("[0-9a-f]{64}", entry.released.sha256), entry.name
