"""`Files`: what holds of any file that can be opened, however it came to be."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
import pytest

from riboswitch.errors import CheckpointError
from riboswitch.interfaces import Checkpoint
from riboswitch.testing.openers import Content, Opener, Opening, content, functions

FLIPS = 150


class Files(Opening):
    """Laziness, damage, and what an opened file may still ask of the disk."""

    container: ClassVar[str]
    suffix: ClassVar[str] = ""
    checksums: ClassVar[bool] = False

    def file(self, folder: Path) -> Path:
        """A sound file of this container."""
        raise NotImplementedError  # the author of the contract's subclass says it

    def sound(self, folder: Path) -> bytes:
        """Its content."""
        return self.file(folder).read_bytes()

    @cached_property
    def opener(self) -> Opener:
        """That of the first plugin which opens such a file."""
        said = []
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = self.file(Path(folder))
            for opener in functions("riboswitch_open_checkpoint"):
                try:
                    found = opener(path=path)
                except Exception as error:  # perhaps of a bystander
                    said.append(f"{type(error).__name__}: {error}")
                    continue
                if found is not None and found.container == self.container:
                    return opener
        said = said or ["they return None, or another container"]
        pytest.fail("\n".join([f"no plugin opens a file of {self.container!r}", *said]))

    def open(self, folder: Path) -> Checkpoint:
        """The sound file, opened."""
        found = self.opener(path=self.file(folder))
        assert found is not None
        return found

    def test_tensors_are_what_they_say(self, tmp_path: Path) -> None:
        """Named by texts; shape and dtype are known before and right after they are read."""
        checkpoint = self.open(tmp_path)
        assert checkpoint.tensors
        for name, tensor in checkpoint.tensors.items():
            assert isinstance(name, str)
            shape, dtype = tensor.shape, tensor.dtype
            assert isinstance(shape, tuple)
            array = tensor.read()
            assert isinstance(array, np.ndarray)
            assert (array.shape, array.dtype.isnative) == (shape, True), name
            assert array.dtype.name == ("float32" if dtype == "bfloat16" else dtype), name

    def test_opening_reads_no_numbers(self, tmp_path: Path) -> None:
        """It takes no memory that grows with the numbers."""
        path = self.large(tmp_path)
        self.opener(path=path)  # imports what it needs
        tracemalloc.start()
        try:
            checkpoint = self.opener(path=path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert checkpoint is not None
        numbers = sum(tensor.read().nbytes for tensor in checkpoint.tensors.values())
        most = 200_000 + numbers // 4
        assert peak <= most, f"opening took {peak} bytes for {numbers} bytes of numbers"

    def large(self, folder: Path) -> Path:
        """A file with more numbers than words, as far as one can be made."""
        return self.file(folder)

    def test_reading_again_gives_the_same(self, tmp_path: Path) -> None:
        """In any order, also after `release`; arrays that were handed out stay as they were."""
        checkpoint = self.open(tmp_path)
        first = content(checkpoint)
        kept = {name: t.read() for name, t in [*checkpoint.tensors.items()][::-1]}
        checkpoint.release()
        assert content(checkpoint) == first
        assert {n: a.tobytes() for n, a in kept.items()} == {n: b for n, (_, _, b) in first.items()}

    @pytest.mark.parametrize("change", ["replaced", "deleted"])
    def test_a_file_that_is_replaced_or_deleted(self, tmp_path: Path, change: str) -> None:
        """What was opened gives its own numbers or a `CheckpointError`, never the new file's."""
        path, other = self.file(tmp_path), tmp_path / "other"
        other.write_bytes(self.another(tmp_path))
        checkpoint, before = self.open(tmp_path), content(self.open(tmp_path))
        kept = {name: tensor.read() for name, tensor in checkpoint.tensors.items()}
        with suppress(PermissionError):  # where a file that is open cannot be
            other.replace(path) if change == "replaced" else path.unlink()
        with suppress(CheckpointError):
            assert content(checkpoint) == before, f"its file was {change}, and its numbers are"
        expected = {name: data for name, (_, _, data) in before.items()}
        assert {name: array.tobytes() for name, array in kept.items()} == expected

    def another(self, folder: Path) -> bytes:
        """Another file of the same size, which need not be sound."""
        data = bytearray(self.sound(folder))
        for place in range(len(data) // 3, len(data), 7):
            data[place] ^= 0x55
        return bytes(data)

    def test_a_file_cut_short_is_an_error(self, tmp_path: Path) -> None:
        """Wherever it ends: unknown, or a `CheckpointError` when it is opened or read."""
        path = self.file(tmp_path)
        data = path.read_bytes()
        ends = {*range(65), *range(0, len(data), max(1, len(data) // 150)), len(data) - 1}
        for length in sorted(end for end in ends if end < len(data)):
            path.write_bytes(data[:length])
            assert self.survives(path) is None, f"{length} of {len(data)} bytes pass for all"

    def test_a_flipped_byte_is_an_error_or_harmless(self, tmp_path: Path) -> None:
        """No other exception; with `checksums`, no other numbers either."""
        path = self.file(tmp_path)
        data, before = path.read_bytes(), _numbers(content(self.open(tmp_path)))
        rng = np.random.default_rng(0)
        places = {*range(min(32, len(data))), *rng.integers(0, len(data), FLIPS).tolist()}
        for place in sorted(places):
            for mask in (0x01, 0x80, 0xFF):
                changed = bytearray(data)
                changed[place] ^= mask
                path.write_bytes(changed)
                found = self.survives(path)
                if self.checksums and found is not None:
                    assert _numbers(found) == before, f"byte {place} is another, unnoticed"

    def test_garbage_is_an_error_or_harmless(self, tmp_path: Path) -> None:
        """Inside, before or behind a sound file; with `checksums`, no other numbers come of it."""
        path = self.file(tmp_path)
        data, before = path.read_bytes(), _numbers(content(self.open(tmp_path)))
        half, noise = len(data) // 2, np.random.default_rng(1).bytes(64)
        for more in (noise, bytes(64), data):
            for changed in (data + more, more + data, data[:half] + more + data[half:]):
                path.write_bytes(changed)
                found = self.survives(path)
                if self.checksums and found is not None:
                    assert _numbers(found) == before, "other numbers, unnoticed"


def _numbers(found: Content) -> list[bytes]:
    """The tensors' bytes, whatever their names."""
    return sorted(data for _, _, data in found.values())
