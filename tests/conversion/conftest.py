"""Sources to convert: the fixtures, and random models of every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve

from riboswitch.interfaces import ModelEntry
from riboswitch.registry import registry
from riboswitch.testing.lively import rounded_weights
from riboswitch.weights import LazyWeights

LAYOUTS = {  # by family: which ones can hold it
    "rnafm": ("riboswitch", "rnafm", "multimolecule"),
    "mrnafm": ("riboswitch", "rnafm", "multimolecule"),
    "rinalmo": ("riboswitch", "rinalmo", "rinalmo-plain", "multimolecule"),
    "rnaernie": ("riboswitch", "rnaernie", "multimolecule"),
}
FILES = {  # folder of a fixture: the file that holds it; none where the folder does
    "rnafm": "RNA-FM_pretrained.pth",
    "mrnafm": "mRNA-FM_pretrained.pth",
    "rinalmo": "rinalmo_tiny_pretrained.pt",
    "rnaernie": "",
    "rnaernie_prompt": "",
    "rnafm_ss": "RNA-FM_SS-ResNet.pth",
    "rinalmo_ft_ss": "rinalmo_tiny_ss_ft.pt",
    "rinalmo_ft_ncrna": "rinalmo_tiny_ncrna_ft.pt",
}
Bits = dict[str, tuple[str, tuple[int, ...], bytes]]


@pytest.fixture(scope="session")
def sources(fixtures: Path) -> dict[str, Path]:
    """Path of each fixture, by name."""
    return {name: fixtures / name / file for name, file in FILES.items()}


@pytest.fixture(scope="session")
def layouts() -> dict[str, tuple[str, ...]]:
    """`LAYOUTS`."""
    return LAYOUTS


@pytest.fixture(scope="session")
def unfinished() -> Callable[[Path], list[str]]:
    """Names in a folder of writes that did not end."""
    return leftovers


@pytest.fixture(scope="session")
def bits() -> Callable[[Path], Bits]:
    """Everything that a checkpoint's tensors are: dtype, shape and bytes by name."""
    return tensor_bits


@pytest.fixture(scope="session")
def entry() -> Callable[..., ModelEntry]:
    """Shrink a registered model: entry(name, **changes)."""
    return shrunken


@pytest.fixture(scope="session")
def draw() -> Callable[..., LazyWeights]:
    """Draw weights that a dtype can hold, kept so that a test can change them."""

    def weights(entry: ModelEntry, dtype: str) -> LazyWeights:
        made = dict(rounded_weights(entry.architecture, dtype))
        return LazyWeights(made, made.__getitem__, dict.fromkeys(made, dtype))

    return weights


def tensor_bits(path: Path) -> Bits:
    tensors = registry().open_checkpoint(path).tensors
    return {n: (t.dtype, t.shape, np.array(t.read()).tobytes()) for n, t in tensors.items()}


def shrunken(name: str, **changes: object) -> ModelEntry:
    found = registry().model(name)
    sizes = {"num_layers": 2, "hidden_size": 40, "num_heads": 4, "feed_forward_size": 50}
    return evolve(found, architecture=found.architecture.evolve({**sizes, **changes}))


def leftovers(folder: Path) -> list[str]:
    """Temporary names of unfinished writes."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]
