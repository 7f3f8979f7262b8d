"""Checkpoints that an author brings, for what can only be read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

Example: TypeAlias = str | Path | Callable[[Path], object]
"""A file or folder, or a function that makes one at the path that it is given."""


def make(example: Example, path: Path) -> Path:
    """Put a copy of an example at a path: tests damage it."""
    if isinstance(example, staticmethod):  # a function in the body of a class
        example = example.__func__
    if callable(example):
        example(path)
        assert path.exists(), "the example's function made nothing at the path that it was given"
        return path
    source = Path(example)
    assert source.exists(), f"the example {source} is not there"
    if source.is_dir():
        shutil.copytree(source, path)
    else:
        shutil.copyfile(source, path)
    return path


def files_of(path: Path) -> list[Path]:
    """The files of a checkpoint, the largest one first."""
    found = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    return sorted(found, key=lambda p: (-p.stat().st_size, p.name))
