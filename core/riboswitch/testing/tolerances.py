"""The one table of how far apart two results may be, by what is compared and by dtype."""

from __future__ import annotations

from collections.abc import Mapping

TOLERANCES: Mapping[tuple[str, str], float] = {
    # (what is compared, dtype that it was computed in): largest absolute difference.
    # One backend against NumPy in float64.
    ("backends", "float32"): 1e-4,
    ("backends", "float64"): 1e-9,
    # In half precision single numbers stray: the mean absolute difference, over the mean size.
    ("backends", "bfloat16"): 0.05,
    ("backends", "float16"): 0.01,
    # A slope along a random direction, over the size of such slopes; and what AdamW makes of
    # gradients, over the largest number of its kind.
    ("gradients", "float32"): 3e-4,
    ("learning", "float32"): 1e-4,
    # The same sequence in another batch, on one backend.
    ("batches", "float32"): 5e-6,
    # A model against what the implementation that released it computed. That is stored in
    # float64 (RiNALMo computed in float64 throughout; RNA-FM's LayerNorm did not) or float32.
    ("fixture", "float64"): 2e-7,
    ("fixture rinalmo", "float64"): 1e-10,
    ("fixture in float32", "float64"): 2e-6,
    ("fixture", "float32"): 2e-5,
}
