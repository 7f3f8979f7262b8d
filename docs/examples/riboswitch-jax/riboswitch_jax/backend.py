"""`JaxBackend`: what JAX can do here."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import jax

from riboswitch.architecture import Architecture
from riboswitch.interfaces import Weights
from riboswitch_jax.backbone import JaxBackbone
from riboswitch_jax.parameters import load


class JaxBackend:
    """JAX on the CPU, a GPU or a TPU."""

    name = "jax"

    @property
    def version(self) -> str:
        """JAX's version."""
        return f"jax {jax.__version__}"

    def devices(self) -> tuple[str, ...]:
        """What JAX prefers here, by its own names (`gpu` being `gpu:0`), then the CPU."""
        platform, count = jax.default_backend(), jax.local_device_count()
        if platform == "cpu":
            return ("cpu",)
        return (platform, *(f"{platform}:{i}" for i in range(count)), "cpu")

    def dtypes(self, device: str) -> tuple[str, ...]:
        """A TPU has no float64; float16, whose range is short, is left to others."""
        return ("float32", "bfloat16", *(() if device.startswith("tpu") else ("float64",)))

    def build(
        self, architecture: Architecture, weights: Weights, *, device: str, dtype: str
    ) -> JaxBackbone:
        """Put the weights on the device, layers stacked."""
        platform, _, number = device.partition(":")
        home = jax.local_devices(backend=platform)[int(number or 0)]
        return JaxBackbone(architecture, load(architecture, weights, home, dtype), dtype)

    def single_thread(self) -> AbstractContextManager[None]:
        """Do nothing: XLA fixes its threads when the process starts, and no call can change them.

        How it cuts a product depends on the size of its pool, not on who else uses it, so
        results do not depend on how many calls run at once; their cores are shared instead.
        """
        return nullcontext()
