"""The programs of others: skipped where they are not installed, unless they were promised."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from riboswitch.conversion.verify import SEQUENCES

REQUIRED = "RIBOSWITCH_REQUIRE_PEERS"


def pytest_runtest_setup(item: pytest.Item) -> None:
    promised = os.environ.get(REQUIRED, "").split(",")
    for name in [name for mark in item.iter_markers("peer") for name in mark.args]:
        if find_spec(name) is None:
            lacking = pytest.fail if name in promised else pytest.skip
            lacking(f"the peer {name} is not installed")


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Real sequences of whole codons, and the same with tokens masked."""
    real = [s[: len(s) // 3 * 3] for s in SEQUENCES]
    masked = [f"{s[:9]}<mask>{s[12:24]}<mask><mask>{s[30:]}" for s in real]
    return [*real, *masked, real[0][:3]]


@pytest.fixture(scope="session")
def same(tolerance) -> Callable[[Any, Sequence[np.ndarray]], None]:
    """Compare a peer's padded tensor (n, T, ...) with one array of ours for each sequence."""

    def check(theirs: Any, ours: Sequence[np.ndarray]) -> None:
        for padded, array in zip(theirs.detach().float().numpy(), ours, strict=True):
            atol = tolerance["fixture", "float32"]
            np.testing.assert_allclose(padded[: len(array)], array, rtol=0, atol=atol)

    return check


@pytest.fixture(scope="session")
def enliven() -> Callable[[Any], Any]:
    """Give every parameter of a torch module numbers that matter, in evaluation mode."""

    def draw(module: Any) -> Any:
        rng = np.random.default_rng(0)
        for name, parameter in module.named_parameters():
            noise = rng.standard_normal(tuple(parameter.shape)) * (0.15 if "emb" in name else 0.3)
            scale = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.data[...] = parameter.new_tensor(scale + noise)
        return module.eval()

    return draw
