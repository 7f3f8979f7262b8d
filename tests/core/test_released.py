"""Fetching, by the real code, from a server on this machine that misbehaves."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import random
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve

import riboswitch
from riboswitch.errors import CheckpointError, ResourceError
from riboswitch.origins import ByHand, HubFile, Packaged, Released, ZenodoFile
from riboswitch.registry import registry
from riboswitch.released import check, fetch, is_here, network, read_record, released_path
from riboswitch.released.network import RefusedError, check_address
from riboswitch.released.parts import IDLE, new_part
from riboswitch.released.sources import locate

_spec = importlib.util.spec_from_file_location("loopback", Path(__file__).with_name("loopback.py"))
assert _spec and _spec.loader
loopback = importlib.util.module_from_spec(_spec)
__import__("sys").modules["loopback"] = loopback  # dataclasses look it up
_spec.loader.exec_module(loopback)
Fault = loopback.Fault

CONTENT = random.Random(7).randbytes(400_000)
OTHER = random.Random(8).randbytes(390_000)
HUB = HubFile(repo="lab/model", file="model.pt")
AT_ZENODO = {
    "key": "model.pt",
    "size": len(CONTENT),
    "checksum": f"md5:{'0' * 32}",
    "links": {"self": "https://zenodo.org/x"},
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch, tmp_path):
    for name in ("RIBOSWITCH_OFFLINE", "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RIBOSWITCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(network, "FIRST_WAIT", 0.001)
    for module in ("sources", "transfer"):
        monkeypatch.setattr(f"riboswitch.released.{module}.TIMEOUTS", (2.0, 0.3))


@pytest.fixture
def server(monkeypatch):
    with loopback.serving(CONTENT) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        with loopback.in_the_place_of_zenodo(running):
            yield running


def make_entry(source: Any = HUB, filename: str = "model.pt", **known: Any) -> Any:
    released = Released(source=source, filename=filename, **known)
    return evolve(registry().model("mrnafm"), released=released)


def folder() -> Path:
    return Path(os.environ["RIBOSWITCH_CACHE"]) / "mrnafm"


def names() -> set[str]:
    return {path.name for path in folder().iterdir()} if folder().is_dir() else set()


def fails(entry: Any, says: str, error: type[Exception] = CheckpointError) -> str:
    """Check that one clear error comes and that no file is left under the final name."""
    with pytest.raises(error) as caught:
        fetch(entry)
    text = str(caught.value)
    assert re.search(says, text), text
    if error is CheckpointError:
        assert str(folder() / "model.pt") in text.splitlines()[-1]
    assert "model.pt" not in names()
    return text


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
    record = read_record(path)
    assert record.sha256 == server.sha256
    assert (record.size, record.licence) == (len(CONTENT), "MIT")
    assert record.revision == loopback.COMMIT
    assert record.url == f"{server.endpoint}/lab/model/resolve/{loopback.COMMIT}/model.pt"
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
    entry = make_entry(ZenodoFile(doi=loopback.DOI, file="model.pt"))
    path = fetch(entry)
    assert path.read_bytes() == CONTENT
    assert read_record(path).revision == loopback.DOI
    assert read_record(path).sha256 == server.sha256


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
    fails(make_entry(ZenodoFile(doi=loopback.DOI, file="model.pt")), says)
    assert not server.downloads


def test_zenodo_may_be_busy_for_a_while(server):
    entry = make_entry(ZenodoFile(doi=loopback.DOI, file="model.pt"))
    server.head_faults = [Fault(status=503, extra=b"<html>"), Fault(status=429)]
    assert fetch(entry).read_bytes() == CONTENT


def test_what_zenodo_does_not_know_is_said_at_once(server):
    server.head_faults = [Fault(status=404)]
    fails(make_entry(ZenodoFile(doi=loopback.DOI, file="model.pt")), "answers 404")


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


def test_a_broken_transfer_goes_on_where_it_was(server):
    server.faults = [Fault(cut=250_000), Fault(cut=100_000)]
    assert fetch(make_entry()).read_bytes() == CONTENT
    second = server.downloads[1].headers
    assert re.fullmatch(r"bytes=(1|2)\d{5}-", second["range"])
    assert second["if-range"].startswith('"')
    assert server.sent < 1.5 * len(CONTENT)


def test_a_silent_server_is_asked_again(server):
    start = time.monotonic()
    server.faults = [Fault(cut=200_000, stall=20)]
    assert fetch(make_entry()).read_bytes() == CONTENT
    assert [r.status for r in server.downloads] == [200, 206]
    assert time.monotonic() - start < 10


def test_progress_starts_the_count_of_tries_anew(server):
    server.faults = [Fault(cut=10) for _ in range(12)]
    fails(make_entry(), "5 times")
    server.faults = [Fault(cut=70_000) for _ in range(12)]
    assert fetch(make_entry()).read_bytes() == CONTENT
    assert len(server.downloads) > 10


def test_a_busy_server_is_waited_for(server, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(network, "time", SimpleNamespace(sleep=waits.append))
    soon = {"Retry-After": "7"}
    date = {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}
    server.faults = [Fault(status=503, headers=soon), Fault(status=429, headers=date), Fault()]
    assert fetch(make_entry()).read_bytes() == CONTENT
    assert waits == [7, network.LONGEST_WAIT]


def test_a_busy_hub_is_asked_again(server):
    server.head_faults = [Fault(status=503)]  # some versions of huggingface_hub do that themselves
    assert fetch(make_entry()).read_bytes() == CONTENT


def test_a_server_that_stays_busy_is_given_up(server):
    server.faults = [Fault(status=503) for _ in range(9)]
    fails(make_entry(), r"answers 503, 5 times")
    assert len(server.downloads) == 5
    assert names() == set()


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_asked_again(server, status):
    server.faults = [Fault(status=status)]
    fails(make_entry(), f"answers {status}")
    assert len(server.downloads) == 1
    server.head_faults = [Fault(status=status)]
    fails(make_entry(), f"answers {status}")
    assert names() == set()


def test_a_damaged_file_is_fetched_once_more_from_zero(server):
    server.faults = [Fault(flip=1000)]
    assert fetch(make_entry()).read_bytes() == CONTENT
    assert ["range" in r.headers for r in server.downloads] == [False, False]


@pytest.mark.parametrize("source", [HUB, ZenodoFile(doi=loopback.DOI, file="model.pt")])
def test_a_file_that_stays_damaged_never_gets_its_name(server, source):
    server.faults = [Fault(flip=1000), Fault(flip=1000)]
    text = fails(make_entry(source), "not [0-9a-f]{32}")
    bad = bytearray(CONTENT)
    bad[1000] ^= 1
    kind = "sha256" if source is HUB else "md5"
    assert hashlib.new(kind, bad).hexdigest() in text
    assert hashlib.new(kind, CONTENT).hexdigest() in text
    assert names() == set()


def test_a_failed_fetch_leaves_the_old_file(server):
    old = fetch(make_entry())
    server.faults = [Fault(flip=0), Fault(flip=0)]
    with pytest.raises(CheckpointError):
        fetch(make_entry(), force=True)
    assert old.read_bytes() == CONTENT
    assert check(make_entry()).sha256 == server.sha256


def test_a_damaged_beginning_does_not_spoil_every_later_try(server):
    server.faults = [Fault(flip=5, cut=200_000), Fault(status=404)]
    fails(make_entry(), "404")
    assert len(names()) == 1
    assert fetch(make_entry()).read_bytes() == CONTENT
    assert "range" not in server.downloads[-1].headers
    assert names() == {"model.pt", "model.pt.json"}


@pytest.mark.parametrize("honest", [True, False])
def test_a_file_that_changes_between_two_tries_is_never_mixed(server, honest):
    server.faults = [Fault(cut=200_000, swap=OTHER), Fault(ignore_if_range=not honest)]
    path = fetch(make_entry())
    assert path.read_bytes() == OTHER
    assert read_record(path).sha256 == hashlib.sha256(OTHER).hexdigest()
    assert names() == {"model.pt", "model.pt.json"}
    assert len(server.downloads) == 3


def test_a_file_of_the_same_length_that_changes_is_noticed_by_its_etag(server):
    seen: list[int] = []
    server.faults = [Fault(cut=200_000, swap=CONTENT[::-1])]
    path = fetch(make_entry(), report=lambda done, _: seen.append(done))
    assert path.read_bytes() == CONTENT[::-1]
    assert [r.status for r in server.downloads] == [200, 200, 200]
    assert seen.count(len(CONTENT)) == 1  # the second answer was not read


def test_a_file_that_changes_again_and_again_is_an_error(server):
    server.faults = [Fault(cut=200_000, swap=OTHER), Fault(), Fault(cut=9, swap=CONTENT), Fault()]
    fails(make_entry(), "bytes, not the 390000 announced|replaced by another")
    assert names() == set()


def test_a_file_that_shrinks_is_another_one(server):
    server.send_etag = False
    server.faults = [Fault(cut=200_000, swap=OTHER[:1000])]
    assert fetch(make_entry()).read_bytes() == OTHER[:1000]
    assert [r.status for r in server.downloads] == [200, 416, 200]


def test_without_an_etag_the_hash_still_decides(server):
    server.send_etag = False
    server.faults = [Fault(cut=200_000, swap=CONTENT[::-1])]
    assert fetch(make_entry()).read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_starts_from_zero(server):
    server.faults = [Fault(cut=250_000), Fault(ignore_range=True)]
    assert fetch(make_entry()).read_bytes() == CONTENT
    assert [r.status for r in server.downloads] == [200, 200]


@pytest.mark.parametrize("said", ["bytes 0-399999/400000", "bytes 5-9/400000", "nonsense"])
def test_a_wrong_content_range_is_not_believed(server, said):
    server.faults = [Fault(cut=250_000), Fault(content_range=said)]
    assert fetch(make_entry()).read_bytes() == CONTENT
    assert "range" not in server.downloads[2].headers


def test_a_content_range_of_another_length_is_another_file(server):
    server.send_etag = False
    server.faults = [Fault(cut=131_072), Fault(content_range="bytes 131072-399999/400001")]
    assert fetch(make_entry()).read_bytes() == CONTENT
    assert "range" not in server.downloads[2].headers


def test_a_server_that_sends_too_much_is_cut_off(server):
    seen = [0]
    server.faults = [Fault(extra=bytes(3_000_000)), Fault(extra=b"x")]
    with pytest.raises(CheckpointError, match="is longer than the 400000 bytes announced"):
        fetch(make_entry(), report=lambda done, _: seen.append(done))
    assert max(seen) <= len(CONTENT)
    assert names() == set()


def test_a_file_of_another_size_is_not_read(server):
    seen: list[int] = []
    server.faults = [Fault(swap=OTHER, status=503)]
    path = fetch(make_entry(), report=lambda *counts: seen.append(counts[1]))
    assert path.read_bytes() == OTHER
    assert set(seen) == {len(OTHER)}


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
    zenodo = ZenodoFile(doi=loopback.DOI, file="model.pt")
    fails(make_entry(zenodo, sha256="0" * 64), f"not {'0' * 64}")
    assert names() == set()
    assert fetch(make_entry(zenodo, sha256=server.sha256)).read_bytes() == CONTENT


def test_a_pinned_commit_must_be_the_one_that_answers(server):
    assert locate(make_entry(evolve(HUB, revision=loopback.COMMIT)).released).size == len(CONTENT)
    fails(make_entry(evolve(HUB, revision="d" * 40)), "404")
    server.said_commit = "d" * 40
    fails(make_entry(evolve(HUB, revision=loopback.COMMIT)), f"as of the commit {'d' * 40}")
    server.said_commit = ""
    fails(make_entry(), "without a commit")
    assert not server.downloads


@pytest.mark.parametrize("name", ["RIBOSWITCH_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_says_where_the_file_belongs(server, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    text = fails(make_entry(), f"{name} is set")
    assert "https://huggingface.co/lab/model" in text
    assert "licence" in text.lower()
    assert not server.requests


def test_an_unreachable_network_says_where_the_file_belongs(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    fails(make_entry(), "the connection fails")


def test_a_file_put_there_by_hand_is_taken(monkeypatch):
    monkeypatch.setenv("RIBOSWITCH_OFFLINE", "1")
    folder().mkdir(parents=True)
    (folder() / "model.pt").write_bytes(b"mine")
    assert fetch(make_entry()).read_bytes() == b"mine"
    assert names() == {"model.pt"}
    with pytest.raises(CheckpointError, match="no hash of it is known"):
        check(make_entry())


def test_a_file_put_there_by_hand_must_have_the_known_hash(monkeypatch):
    monkeypatch.setenv("RIBOSWITCH_OFFLINE", "1")
    folder().mkdir(parents=True)
    (folder() / "model.pt").write_bytes(b"mine")
    with pytest.raises(CheckpointError, match=f"{hashlib.sha256(b'mine').hexdigest()}; {'0' * 64}"):
        fetch(make_entry(sha256="0" * 64))
    assert fetch(make_entry(sha256=hashlib.sha256(b"mine").hexdigest())).exists()
    assert read_record(folder() / "model.pt").url is None  # so the next time is quick


def test_damage_is_found(server):
    path = fetch(make_entry())
    changed = bytearray(CONTENT)
    changed[5] ^= 1
    path.write_bytes(changed)
    assert fetch(make_entry()) == path  # the same size: only --check reads it all
    with pytest.raises(CheckpointError, match=f"{server.sha256} is right.*\n.*--force"):
        check(make_entry())
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(CheckpointError, match="has 399999 bytes, not the 400000"):
        fetch(make_entry())
    assert fetch(make_entry(), force=True).read_bytes() == CONTENT


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"sha256": 1}', "\0"])
def test_a_damaged_record_is_no_record(server, text):
    path = fetch(make_entry())
    path.with_name("model.pt.json").write_text(text)
    assert read_record(path) is None
    assert fetch(make_entry()) == path


def test_a_kill_before_the_record_leaves_a_good_file(server, monkeypatch):
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    fetch(make_entry())
    server.content = OTHER
    with monkeypatch.context() as patch:
        patch.setattr("riboswitch.released.fetching.write_record", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(make_entry(), force=True)
    assert released_path(make_entry()).read_bytes() == OTHER
    assert fetch(make_entry()).read_bytes() == OTHER  # and not called damaged by the old record


def test_an_interrupt_leaves_the_part_and_the_next_one_goes_on(server):
    def interrupt(done: int, _: int) -> None:
        if done > 200_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(make_entry(), report=interrupt)
    assert [name.endswith(".part") for name in names()] == [True]
    server.sent = 0
    assert fetch(make_entry()).read_bytes() == CONTENT
    assert server.sent <= 200_000
    assert names() == {"model.pt", "model.pt.json"}


def test_a_whole_part_needs_no_transfer(server):
    fetch(make_entry()).rename(new_part(folder() / "model.pt", locate(make_entry().released)))
    server.sent = 0
    assert fetch(make_entry()).read_bytes() == CONTENT
    assert server.sent == 0


def test_another_content_goes_on_with_no_old_part(server):
    found = locate(make_entry().released)
    new_part(folder() / "model.pt", found).write_bytes(CONTENT[:1000])
    server.content = OTHER
    assert fetch(make_entry()).read_bytes() == OTHER
    assert "range" not in server.downloads[0].headers


def test_a_fresh_part_is_copied_and_an_old_one_is_taken(server):
    found, path = locate(make_entry().released), folder() / "model.pt"
    first = new_part(path, found)
    first.write_bytes(CONTENT[:1000])
    second = new_part(path, found)
    assert first.read_bytes() == second.read_bytes() == CONTENT[:1000]
    first.write_bytes(CONTENT[:2000])
    taken = first.stat().st_ino
    ago = time.time() - IDLE - 1
    for part in (first, second):
        os.utime(part, (ago, ago))
    third = new_part(path, found)
    assert third.read_bytes() == CONTENT[:2000]
    assert third.stat().st_ino == taken
    assert names() == {third.name}


def test_who_loses_its_part_takes_the_finished_file(server):
    entry, seen = make_entry(), []

    def other_process(done: int, _: int) -> None:
        seen.append(done)
        if len(seen) == 1:
            fetch(entry)  # and removes our part

    assert fetch(entry, report=other_process).read_bytes() == CONTENT
    assert len(seen) == 1  # it did not fetch the rest for nothing
    assert names() == {"model.pt", "model.pt.json"}


def test_who_loses_its_part_to_nobody_begins_anew(server):
    def thief(*_: Any) -> None:
        for part in folder().glob("*.part"):
            if len(server.downloads) == 1:
                part.unlink()

    assert fetch(make_entry(), report=thief).read_bytes() == CONTENT


def test_many_at_once_need_no_lock(server):
    server.rate = 2e6
    threads = [threading.Thread(target=fetch, args=(make_entry(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert check(make_entry()).sha256 == server.sha256
    assert names() == {"model.pt", "model.pt.json"}


def test_a_disk_without_room_is_said_before_the_transfer(server, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=399_999))
    fails(make_entry(), "GB more are needed.*\n.*RIBOSWITCH_CACHE", ResourceError)
    assert not server.downloads
    assert names() == set()


def test_a_cache_that_cannot_be_written_is_said(server, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RIBOSWITCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(CheckpointError, match=r"cannot be written: .*\n.*RIBOSWITCH_CACHE"):
        fetch(make_entry())


@pytest.mark.parametrize("name", ["../model.pt", "a/b", "a\\b", "..", ""])
def test_a_filename_is_no_path(name):
    with pytest.raises(ValueError, match="filename must be one name"):
        make_entry(filename=name)


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


def test_the_record_is_plain_json(server):
    path = fetch(make_entry())
    keys = ["url", "revision", "sha256", "size", "licence", "date"]
    assert list(json.loads(path.with_name("model.pt.json").read_text())) == keys
