"""A damaged or hostile source is one clear error, and a target is whole or not there."""

from __future__ import annotations

import errno
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import riboswitch
from riboswitch import files
from riboswitch.conversion import write
from riboswitch.conversion.convert import convert
from riboswitch.conversion.write import save
from riboswitch.errors import CheckpointError, ResourceError, UsageError

WRITTEN = {  # layout: model and the file of tensors in its folder
    "riboswitch": ("rinalmo-giga", "model.safetensors"),
    "rnafm": ("rnafm", ""),
    "rinalmo": ("rinalmo-giga", ""),
    "rinalmo-plain": ("rinalmo-giga", ""),
    "rnaernie": ("rnaernie", "model_state.pdparams"),
    "multimolecule": ("rnaernie", "model.safetensors"),
}


@pytest.fixture(params=WRITTEN)
def source(request, entry, draw, tmp_path) -> Iterator[tuple[Path, Path]]:
    """A small checkpoint in each layout, and its file of tensors."""
    name, file = WRITTEN[request.param]
    made = entry(name, num_layers=1, hidden_size=20, num_heads=10, feed_forward_size=13)
    path = tmp_path / "source"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", riboswitch.RiboswitchWarning)
        save(made, draw(made, "float32"), path, request.param)
        yield path, path / file if file else path


def refused(path: Path, target: Path, unfinished, **options: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        convert(path, target, "riboswitch", architecture={"num_heads": 10}, **options)
    assert not target.exists()
    assert not unfinished(target.parent)
    return str(caught.value)


def test_one_flipped_bit(source, tmp_path, unfinished) -> None:
    """Wherever it lies: what we write has a CRC-32 of every tensor in it."""
    path, file = source
    whole = file.read_bytes()
    rng = random.Random(0)
    harmless = 0
    places = [*range(64), *rng.sample(range(64, len(whole)), 150)]
    for place in places:
        data = bytearray(whole)
        data[place] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        try:
            report = convert(path, tmp_path / "new", "riboswitch", architecture={"num_heads": 10})
        except CheckpointError:
            assert not (tmp_path / "new").exists()
        else:  # padding, a date: nothing that a number depends on
            harmless += 1
            file.write_bytes(whole)
            again = convert(path, tmp_path / "ok", "riboswitch", architecture={"num_heads": 10})
            assert report.weights_sha256 == again.weights_sha256
            assert report.licence == again.licence
            for name in ("new", "ok"):
                shutil.rmtree(tmp_path / name)
        assert not unfinished(tmp_path)
    assert harmless < len(places) // 3


def test_a_flipped_bit_in_our_own_description(entry, draw, tmp_path, unfinished) -> None:
    made = entry("rnafm")
    save(made, draw(made, "float32"), tmp_path / "source", "riboswitch")
    file = tmp_path / "source" / "riboswitch.json"
    whole, rng = file.read_bytes(), random.Random(0)
    for place in rng.sample(range(len(whole)), 150):
        data = bytearray(whole)
        data[place] ^= 1 << rng.randrange(7)
        file.write_bytes(data)
        if not data[place : place + 1].isspace() or not whole[place : place + 1].isspace():
            refused(tmp_path / "source", tmp_path / "new", unfinished)


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch exploded",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_file(source, tmp_path, unfinished, protocol, monkeypatch) -> None:
    path, file = source
    monkeypatch.chdir(tmp_path)
    file.write_bytes(pickle.dumps({"weight": Bomb()}, protocol))
    refused(path, tmp_path / "new", unfinished)
    assert not (tmp_path / "exploded").exists()


@pytest.fixture
def own(entry, draw, tmp_path) -> Path:
    made = entry("rnafm")
    save(made, draw(made, "float32"), tmp_path / "own", "riboswitch")
    return tmp_path / "own"


@pytest.fixture(params=["riboswitch", "multimolecule"])
def to(request) -> str:
    return str(request.param)


def quiet(*arguments: object, **options: object):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", riboswitch.RiboswitchWarning)
        return convert(*arguments, **options)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_full_disk(own, to, number, tmp_path, unfinished, monkeypatch) -> None:
    def failing(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", failing)
    with pytest.raises(ResourceError) as caught:
        quiet(own, tmp_path / "new", to)
    assert caught.value.exit_code == 5
    assert not (tmp_path / "new").exists()
    assert not unfinished(tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RuntimeError])
def test_an_interruption_while_tensors_are_written(
    own, to, error, tmp_path, unfinished, monkeypatch
) -> None:
    from riboswitch.conversion.inverse import Derived

    read, count = Derived.read, iter(range(100))

    def failing(self: Derived) -> np.ndarray:
        if next(count) == 7:
            raise error
        return read(self)

    monkeypatch.setattr(Derived, "read", failing)
    with pytest.raises(error):
        quiet(own, tmp_path / "new", to)
    assert not (tmp_path / "new").exists()
    assert not unfinished(tmp_path)


@pytest.mark.parametrize(
    ("error", "message"), [(1e-2, "computes other numbers"), (1e-7, "was not written as it was")]
)
def test_a_result_that_is_another_one_is_not_kept(
    own, to, error, message, tmp_path, unfinished, monkeypatch
) -> None:
    from riboswitch_adapters.writers import encoded

    def wrong(array: np.ndarray, dtype: object = None) -> np.ndarray:
        return np.array(array * np.float32(1 + error), dtype)

    monkeypatch.setattr(encoded.np, "ascontiguousarray", wrong)
    with pytest.raises(CheckpointError, match=message):
        quiet(own, tmp_path / "new", to, verify=True)
    assert not (tmp_path / "new").exists()
    assert not unfinished(tmp_path)


def test_what_is_there_is_not_replaced_unasked(own, to, tmp_path) -> None:
    target = tmp_path / "new"
    quiet(own, target, to)
    before = (target / "model.safetensors").stat().st_ino
    with pytest.raises(UsageError, match="is there already"):
        quiet(own, target, to)
    assert (target / "model.safetensors").stat().st_ino == before
    quiet(own, target, to, overwrite=True)
    assert (target / "model.safetensors").stat().st_ino != before


def test_a_folder_of_other_things_is_never_replaced(own, to, tmp_path) -> None:
    quiet(own, tmp_path / "new", to)
    (tmp_path / "new" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"also holds 'thesis\.tex', which would be deleted"):
        quiet(own, tmp_path / "new", to, overwrite=True)
    with pytest.raises(UsageError, match="is no folder, and a folder is written"):
        quiet(own, tmp_path / "file", to, overwrite=True)
    with pytest.raises(UsageError, match="is no file, and a file is written"):
        quiet(own, tmp_path / "new", "rnafm", overwrite=True)
    assert (tmp_path / "new" / "thesis.tex").exists()


def test_a_pipe_is_never_replaced(own, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is no file, and a file is written"):
        quiet(own, tmp_path / "pipe", "rnafm", overwrite=True)


@pytest.mark.parametrize("to", ["riboswitch", "rnafm"])
def test_what_appears_meanwhile_is_not_replaced(own, to, tmp_path, unfinished, monkeypatch) -> None:
    from riboswitch.conversion.inverse import Derived

    read, target = Derived.read, tmp_path / "new"

    def appearing(self: Derived) -> np.ndarray:
        if not target.exists() and to == "rnafm":
            target.write_text("a thesis")
        elif not target.exists():
            target.mkdir()
            (target / "thesis.tex").write_text("a thesis")
        return read(self)

    monkeypatch.setattr(Derived, "read", appearing)
    with pytest.raises(UsageError, match="is there already"):
        quiet(own, target, to)
    assert (target if to == "rnafm" else target / "thesis.tex").read_text() == "a thesis"
    assert not unfinished(tmp_path)


def test_a_link_is_followed(own, tmp_path, unfinished) -> None:
    quiet(own, tmp_path / "real", "riboswitch")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    before = (tmp_path / "real" / "model.safetensors").stat().st_ino
    quiet(own, tmp_path / "link", "riboswitch", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "model.safetensors").stat().st_ino != before
    assert not unfinished(tmp_path)


def test_old_leftovers_of_killed_writes_are_removed(own, tmp_path, unfinished) -> None:
    old, young = (f".new.{digit * 32}.tmp" for digit in "01")
    for name in (old, young, ".other.tmp", ".new.tmp"):
        (tmp_path / name).mkdir()
        if name != young:
            os.utime(tmp_path / name, (0, 0))
    quiet(own, tmp_path / "new", "riboswitch")
    assert sorted(unfinished(tmp_path)) == sorted([young, ".new.tmp", ".other.tmp"])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it takes two steps")
def test_a_replaced_folder_is_never_absent(own, tmp_path) -> None:
    quiet(own, tmp_path / "new", "riboswitch")
    code = SLOW.replace('"riboswitch")', '"riboswitch", overwrite=True)').replace("0.02", "0")
    command = [sys.executable, "-c", code, str(own), str(tmp_path / "new")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            assert (tmp_path / "new" / "riboswitch.json").exists()
    assert process.returncode == 0


def test_a_checkpoint_may_be_converted_onto_itself(own, bits) -> None:
    before = bits(own)
    convert(own, own, "riboswitch", overwrite=True, verify=True)
    assert bits(own) == before


def test_a_failing_rename_brings_the_old_one_back(own, tmp_path, unfinished, monkeypatch) -> None:
    convert(own, tmp_path / "new", "riboswitch")
    rename, calls = Path.rename, []

    def failing(self: Path, target: Path) -> Path:
        calls.append(self.name)
        if len(calls) == 2:
            raise OSError(errno.EIO, "gone")
        return rename(self, target)

    monkeypatch.setattr(files, "_exchanged", lambda first, second: False)
    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(ResourceError):
        convert(own, tmp_path / "new", "riboswitch", overwrite=True)
    monkeypatch.undo()
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "model.safetensors",
        "riboswitch.json",
    ]
    assert not unfinished(tmp_path)
    monkeypatch.setattr(files, "_exchanged", lambda first, second: False)
    convert(own, tmp_path / "new", "riboswitch", overwrite=True)  # in two steps
    assert not unfinished(tmp_path)


SLOW = """
import sys, time
from riboswitch.conversion import inverse
from riboswitch.conversion.convert import convert
read = inverse.Derived.read
def slow(self):
    print("tensor", flush=True)
    time.sleep(0.02)
    return read(self)
inverse.Derived.read = slow
convert(sys.argv[1], sys.argv[2], "riboswitch")
"""


def test_a_killed_conversion_leaves_no_target(own, tmp_path) -> None:
    for after in (1, 10, 30):
        command = [sys.executable, "-c", SLOW, str(own), str(tmp_path / "new")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(after):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        assert not (tmp_path / "new").exists()
    convert(own, tmp_path / "new", "riboswitch")


def test_two_at_once(own, tmp_path, bits) -> None:
    command = [sys.executable, "-c", SLOW, str(own), str(tmp_path / "new")]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    deadline = time.monotonic() + 60
    codes = [process.wait(max(1, deadline - time.monotonic())) for process in both]
    assert 0 in codes
    assert bits(tmp_path / "new") == bits(own)


def test_a_layout_that_is_only_read_says_so(own, tmp_path, plant) -> None:
    from attrs import evolve

    from riboswitch.registry import registry

    plant(evolve(registry().layouts["rnafm"], form=None))
    with pytest.raises(CheckpointError, match="only read, not written"):
        convert(own, tmp_path / "new", "rnafm")


def test_the_name_of_a_layout_is_checked_first(tmp_path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'multimolecule'"):
        write.make_plan(riboswitch.registry.registry().model("rnafm"), None, "multimolecul")
