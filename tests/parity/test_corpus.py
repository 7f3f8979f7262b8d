"""1,400 real sequences of many kinds and lengths go through every backend and agree."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import riboswitch

pytestmark = pytest.mark.slow

SAMPLE = Path(__file__).parent.parent / "data" / "rnacentral_sample.fasta.gz"
SIZES = {"num_layers": 1, "hidden_size": 40, "feed_forward_size": 80}


@cache
def sequences() -> list[str]:
    records = gzip.decompress(SAMPLE.read_bytes()).decode().split(">")[1:]
    return ["".join(record.split("\n")[1:]) for record in records]


def embedded(backend: str, dtype: str = "float32") -> np.ndarray:
    model = riboswitch.load(
        "rinalmo-nano", backend=backend, dtype=dtype, weights="random", architecture=SIZES
    )
    return model.embed(sequences(), pool="mean")


@cache
def judged() -> np.ndarray:
    return embedded("numpy", "float64")


def test_the_whole_sample_agrees_with_the_judge(backend: str, tolerance) -> None:
    found = embedded(backend)
    assert found.shape == (1400, 40)
    assert np.abs(found - judged()).max() < 1e-4
    assert len(np.unique(judged().round(6), axis=0)) > 1000  # not the same for all
