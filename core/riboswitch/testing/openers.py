"""What plugins open and write, and the hygiene of whoever opens files of strangers."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import pytest
from attrs import frozen

from riboswitch.errors import (
    CheckpointError,
    PluginError,
    RiboswitchError,
    UnrecognisedError,
    guarded,
)
from riboswitch.interfaces import Array, Checkpoint, Draft, Form, Layout, ModelEntry, Tensor
from riboswitch.registry import registry
from riboswitch.testing.contract import Contract

Opener = Callable[..., Checkpoint | None]
Content = dict[str, tuple[str, tuple[int, ...], bytes]]
FOREIGN: Mapping[str, bytes] = {
    "text": b"GGGUGCGAUCAUACCAGCACUAAUGCCCUCC\n" * 9,
    "table": json.dumps({"a": [1, 2, 3]}).encode(),
    "web page": b"<!DOCTYPE html><html><body>404</body></html>",
    "zeros": bytes(4096),
    "noise": np.random.default_rng(0).bytes(4096),
}
STARTS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 64, 128)
"""Bytes of a sound file before which a hostile pickle is put."""


@frozen(eq=False)
class Held:
    """A tensor in memory that is to be written."""

    shape: tuple[int, ...]
    dtype: str
    _array: Array

    def read(self) -> Array:
        """The numbers."""
        return self._array


class Marker:
    """What makes a folder when a pickle of it is run."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self._path,)


def functions(hook: str, plugin: str | None = None) -> list[Callable[..., Any]]:
    """A hook's functions: those of all plugins, ours first, or of one."""
    return [
        each.functions[hook]
        for each in registry().plugins
        if hook in each.functions and plugin in (None, each.name)
    ]


def containers() -> dict[str, str]:
    """Containers that an installed layout is written in, and the suffix of such a file."""
    found: dict[str, str] = {}
    for layout in registry().layouts.values():
        for entry in registry().models.values():
            if (form := _form(layout, entry)) is not None:
                found.setdefault(form.container, Path(form.file or "").suffix)
    return found


def containers_of(plugin: str) -> list[str]:
    """Those that one plugin writes."""
    writers = functions("riboswitch_write_checkpoint", plugin)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "file"
        return [c for c in containers() if any(writes(w, path, c) for w in writers)]


def _form(layout: Layout, entry: ModelEntry) -> Form | None:
    try:
        with guarded():
            return layout.form(layout.target(entry)) if layout.form else None
    except (RiboswitchError, PluginError):  # it holds no such model, or is broken
        return None


def writes(writer: Callable[..., Any], path: Path, container: str) -> bool:
    """Whether a plugin takes a container for its own."""
    try:
        return bool(writer(path=path, draft=draft_of(container)))
    except Exception:  # broken: the contract of what it should write says so
        return False


def draft_of(container: str, dtype: str = "float32") -> Draft:
    """A small file's tensors."""
    numbers = np.arange(6).astype("f4" if dtype == "bfloat16" else dtype).reshape(2, 3)
    tensors: dict[str, Tensor] = {"a": Held((2, 3), dtype, numbers)}
    return Draft(container=container, tensors=tensors)


class Opening(Contract):
    """What holds of whoever opens files, whatever those are."""

    suffix: ClassVar[str] = ""

    @property
    def opener(self) -> Opener:
        """The function that is tested."""
        raise NotImplementedError  # each kind of file says it

    def sound(self, folder: Path) -> bytes:
        """A sound file's content, as far as one can be made."""
        del folder
        return b""

    def opened(self, path: Path) -> Checkpoint | None:
        """What the opener says; None also for an error by which it says that it knows no such."""
        try:
            return self.opener(path=path)
        except UnrecognisedError:
            return None

    def survives(self, path: Path) -> Content | None:
        """Open a file and read all of it; None if that was refused, with a `CheckpointError`."""
        try:
            found = self.opener(path=path)
            return None if found is None else content(found)
        except CheckpointError:
            return None

    @pytest.mark.parametrize("kind", FOREIGN)
    def test_a_foreign_file_is_left_to_others(self, tmp_path: Path, kind: str) -> None:
        """None or an `UnrecognisedError`, for what is no checkpoint of anybody's."""
        path = tmp_path / f"file{self.suffix}"
        path.write_bytes(FOREIGN[kind])
        assert self.opened(path) is None

    def test_files_of_other_containers_are_left_to_others(self, tmp_path: Path) -> None:
        """Whatever the order in which plugins are asked."""
        for container in containers():
            path = tmp_path / f"{container}{self.suffix}"
            registry().write_checkpoint(path, draft_of(container))
            theirs = registry().open_checkpoint(path)
            found = self.opened(path)
            same = found is not None and found.container == theirs.container
            assert found is None or same, f"it takes a file of {container} for its own"

    def test_a_folder_an_empty_file_and_nothing(self, tmp_path: Path) -> None:
        """None, or a `CheckpointError` that says what is there."""
        (tmp_path / "folder").mkdir()
        (tmp_path / "empty").write_bytes(b"")
        for name in ("folder", "empty", "nothing"):
            try:
                assert self.opener(path=tmp_path / name) is None, name
            except CheckpointError as error:
                assert name in str(error)

    def test_no_pickle_is_run(self, tmp_path: Path) -> None:
        """Alone, in a zip file, as an array of objects, or behind the beginning of a sound file."""
        marker, path = tmp_path / "it was run", tmp_path / f"file{self.suffix}"
        for number, data in enumerate(_hostile(marker, self.sound(tmp_path))):
            path.write_bytes(data)
            self.survives(path)
            assert not marker.exists(), f"the hostile file {number} was run"


class OpenerContract(Opening):
    """What `riboswitch_open_checkpoint` of a plugin keeps to, of whose files none is at hand:

        class TestMine(OpenerContract):
            plugin = "mine"

    Attributes:
        plugin: Its name, that of the entry point.
        suffix: Of its files' names, where the opener asks for it.
    """  # noqa: D415  # an example follows

    plugin: ClassVar[str]

    @property
    def opener(self) -> Opener:
        """The plugin's function."""
        found = functions("riboswitch_open_checkpoint", self.plugin)
        assert found, f"the plugin {self.plugin!r} opens nothing"
        return found[0]

    def test_it_writes_no_container_of_nobody_s(self, tmp_path: Path) -> None:
        """What writes, leaves a container that it does not know to others."""
        for writer in functions("riboswitch_write_checkpoint", self.plugin):
            assert not writer(path=tmp_path / "new", draft=draft_of("of nobody"))
        assert list(tmp_path.iterdir()) == []


def content(checkpoint: Checkpoint) -> Content:
    """All that its tensors are: dtype, shape and bytes by name."""
    tensors = checkpoint.tensors
    return {n: (t.dtype, t.shape, np.array(t.read()).tobytes()) for n, t in tensors.items()}


def _hostile(marker: Path, sound: bytes) -> Iterator[bytes]:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield pickle.dumps(Marker(marker), protocol)
        yield pickle.dumps({"a": Marker(marker)}, protocol)
    run = pickle.dumps({"a": Marker(marker)}, 2)
    yield from (sound[:length] + run for length in STARTS if length < len(sound))
    yield from (sound + run, sound[: len(sound) // 2] + run)
    home = marker.parent
    for name in ("archive/data.pkl", "data.pkl", "a.npy"):
        with zipfile.ZipFile(home / "zip", "w") as archive:
            archive.writestr(name, run)
            archive.writestr(f"{name.rpartition('/')[0]}/version", "3\n")
        yield (home / "zip").read_bytes()
    objects = np.array([Marker(marker)], object)
    with (home / "npy").open("wb") as file:
        np.save(file, objects, allow_pickle=True)
    yield (home / "npy").read_bytes()
    np.savez(home / "npz.npz", a=objects)
    yield (home / "npz.npz").read_bytes()
