"""The transfer of a released file, from a server that misbehaves."""

from __future__ import annotations

import hashlib
import re
import time
from types import SimpleNamespace

import pytest
from tests.released.fetching import CONTENT, HUB, OTHER, fails, make_entry, names
from tests.released.loopback import DOI, Fault

from riboswitch.errors import CheckpointError
from riboswitch.origins import ZenodoFile
from riboswitch.released import check, fetch, network, read_provenance


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


@pytest.mark.parametrize("source", [HUB, ZenodoFile(doi=DOI, file="model.pt")])
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
    assert read_provenance(path).sha256 == hashlib.sha256(OTHER).hexdigest()
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
