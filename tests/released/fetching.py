"""What is fetched here, the folder it comes into, and the error where it does not."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from riboswitch.errors import CheckpointError
from riboswitch.origins import HubFile, Released
from riboswitch.registry import registry
from riboswitch.released import fetch

CONTENT = random.Random(7).randbytes(400_000)
OTHER = random.Random(8).randbytes(390_000)
HUB = HubFile(repo="lab/model", file="model.pt")


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
