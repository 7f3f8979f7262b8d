"""The folder that released files are kept in: parts, records, damage, and what was put there."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from tests.released.fetching import CONTENT, OTHER, fails, folder, make_entry, names

from riboswitch.errors import CheckpointError, ResourceError
from riboswitch.released import check, fetch, read_provenance, released_path
from riboswitch.released.parts import IDLE, new_part
from riboswitch.released.sources import locate


@pytest.mark.parametrize("name", ["RIBOSWITCH_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_says_where_the_file_belongs(server, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    text = fails(make_entry(), f"{name} is set")
    assert "https://huggingface.co/lab/model" in text
    assert "licence" in text.lower()
    assert not server.requests


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
    assert read_provenance(folder() / "model.pt").url is None  # so the next time is quick


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
    assert read_provenance(path) is None
    assert fetch(make_entry()) == path


def test_a_kill_before_the_record_leaves_a_good_file(server, monkeypatch):
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    fetch(make_entry())
    server.content = OTHER
    with monkeypatch.context() as patch:
        patch.setattr("riboswitch.released.fetching.write_provenance", killed)
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


def test_the_record_is_plain_json(server):
    path = fetch(make_entry())
    keys = ["url", "revision", "sha256", "size", "licence", "date"]
    assert list(json.loads(path.with_name("model.pt.json").read_text())) == keys
