"""Hostile files end in one error, soon, in little memory, with nothing run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.hostile import good_files, hostile_files
from tests.adapters.hostile_watch import read_all

from riboswitch.errors import CheckpointError
from riboswitch_adapters.readers.torch_files import (
    read_file,
    read_pdparams,
    read_safetensors,
    read_torch,
)

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
READERS = [read_file, read_torch, read_pdparams, read_safetensors]
SECONDS, BYTES = 1.0, 64 << 20


def _watch(target: Path) -> Any:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(HERE / "hostile_watch.py"), str(target)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("hostile")
    for name, content in (*hostile_files(), *good_files()):
        assert not (target / name).exists(), f"two files are called {name}"
        (target / name).write_bytes(content)
    return target


@pytest.fixture(scope="module")
def report(folder: Path) -> Any:
    return _watch(folder)


@pytest.fixture(scope="module")
def hostile(report: Any) -> dict[str, Any]:
    return {key: value for key, value in report.items() if not key.startswith("good")}


def test_there_are_many(hostile: dict[str, Any]) -> None:
    assert len({key.split(":")[0] for key in hostile}) >= 900


def test_each_is_refused_with_one_error_that_names_it(hostile: dict[str, Any]) -> None:
    assert {k: v["outcome"] for k, v in hostile.items() if v["outcome"] != "refused"} == {}


def test_nothing_is_run(hostile: dict[str, Any]) -> None:
    assert {key: value["events"] for key, value in hostile.items() if value["events"]} == {}


def test_each_ends_soon(hostile: dict[str, Any]) -> None:
    assert {k: v["seconds"] for k, v in hostile.items() if v["seconds"] > SECONDS} == {}


@pytest.mark.parametrize("count", ["peak", "resident"])
def test_each_takes_little_memory(hostile: dict[str, Any], count: str) -> None:
    taken = {key: value[count] for key, value in hostile.items() if count in value}
    assert taken and {key: size for key, size in taken.items() if size > BYTES} == {}


def test_files_of_the_same_writers_without_malice_are_read(report: Any) -> None:
    good = {k: v["outcome"] for k, v in report.items() if k.startswith("good")}
    assert {key for key, outcome in good.items() if outcome == "read"} == {
        "good.pt:read_file", "good.pt:read_torch", "good.pth:read_file", "good.pth:read_torch",
        "good.pdparams:read_file", "good.pdparams:read_pdparams",
        "good.safetensors:read_file", "good.safetensors:read_safetensors",
    }  # fmt: skip


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_the_hook_would_have_noticed(folder: Path, protocol: int) -> None:
    if os.name != "posix":
        pytest.skip("the payload is posix.system")
    events = _watch(folder / f"raw-posix.system-{protocol}.pdparams")
    assert any(event.startswith("os.system") for event in events)


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_regular_file_is_refused(tmp_path: Path, reader: Any) -> None:
    (tmp_path / "missing-target").symlink_to(tmp_path / "missing")
    strange: list[str | Path] = [
        tmp_path,
        tmp_path / "missing",
        tmp_path / "missing-target",
        "a\0b",
    ]
    if os.name == "posix":
        os.mkfifo(tmp_path / "pipe")  # nobody writes to it: a plain open would wait for ever
        strange += [tmp_path / "pipe", "/dev/zero", "/dev/null", "/proc/self/stat"]
    for path in strange:
        with pytest.raises(CheckpointError) as error:
            reader(path)
        assert str(error.value).startswith(f"{path}: ")
        assert str(error.value).count("\n") == 1
        assert error.value.__cause__ is not None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.pt").write_bytes(b"x")
    (tmp_path / "secret.pt").chmod(0)
    with pytest.raises(CheckpointError, match="ermission"):
        read_file(tmp_path / "secret.pt")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raw-os.system-2.pdparams", r"byte 2 of the pickle: it asks for 'os\.system'"),
        ("zip-posix.system-4.pt", r"it asks for 'posix\.system'"),
        ("zip-deflated.pt", "Save it with torch.save"),
        ("zip-crc.pt", r"data/0: the tensor's bytes do not match their CRC-32"),
        ("zip-nested.pt", "entries of the zip file overlap"),
        ("zip-many.pt", "60001 entries"),
        ("zip-local-name.pt", "header contradicts the directory"),
        ("gzip.pt", "Decompress it first"),
        ("page.pt", "web page"),
        ("pointer.pt", "git lfs pull"),
        ("text.pt", "is no checkpoint"),
        ("tensor-stride-zero.pt", "does not fit its storage of 6 elements"),
        ("array-dtype-O8.pdparams", "dtype 'O8'"),
        ("array-slices.pdparams", r"protocol=4"),
        ("bomb-laugh.pdparams", "unfolds without end"),
        ("bomb-self.pt", "holds itself"),
        ("bomb-lists.pdparams", "deeper than 64"),
        ("bomb-steps.pdparams", "more than 250000 steps"),
        ("bomb-memoize.pdparams", "left over"),
        ("bomb-names.pdparams", "bytes of names"),
        ("bomb-deep-shared.pt", "deeper than 64"),
        ("bomb-tuple-key.pt", "tuple for a key"),
        ("bomb-collide.pt", "int for a key"),
        ("safe-deep.safetensors", "RecursionError|more than"),
        ("safe-overlap.safetensors", "overlap"),
        ("safe-hole.safetensors", "hole"),
        ("zip-big-endian.pt", "CRC-32|big-endian"),
        ("safe-claims-1073741824.safetensors", "the file does not have"),
    ],
)
def test_the_error_says_what_is_wrong(folder: Path, name: str, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        tree = read_file(folder / name)[1]
        read_all(tree)
