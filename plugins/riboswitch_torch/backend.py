"""`TorchBackend`: what PyTorch can do here, and how to keep it on one core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch

from riboswitch.architecture import Architecture
from riboswitch.interfaces import Weights
from riboswitch.optimization import Optimization
from riboswitch_torch.backbone import Encoder, TorchBackbone
from riboswitch_torch.learner import TorchLearner, local_device, process


class TorchBackend:
    """PyTorch on the CPU or a GPU."""

    name = "torch"

    def __init__(self) -> None:
        self._lock, self._users, self._before = Lock(), 0, 1
        _choose_functions()

    @property
    def version(self) -> str:
        """PyTorch's version."""
        return f"torch {torch.__version__}"

    def devices(self) -> tuple[str, ...]:
        """CUDA first, then Apple's GPU, then the CPU."""
        cuda = tuple(f"cuda:{i}" for i in range(torch.cuda.device_count()))
        mps = ("mps",) if torch.backends.mps.is_available() else ()
        return (*(("cuda", *cuda) if cuda else ()), *mps, "cpu")

    def dtypes(self, device: str) -> tuple[str, ...]:
        """All of them, but for float64 on Apple's GPU."""
        return ("float32", "bfloat16", "float16", *(() if device == "mps" else ("float64",)))

    def build(
        self, architecture: Architecture, weights: Weights, *, device: str, dtype: str
    ) -> TorchBackbone:
        """Make the module without memory, then give it each weight in turn."""
        with torch.device("meta"):
            encoder = Encoder(architecture)
        encoder.load_canonical(weights, torch.device(device), getattr(torch, dtype))
        return TorchBackbone(encoder.eval().requires_grad_(False))

    def learner(
        self,
        architecture: Architecture,
        weights: Weights,
        *,
        device: str,
        dtype: str,
        optimization: Optimization,
    ) -> TorchLearner:
        """Make a module of copied float32 weights, with AdamW."""
        place = torch.device(local_device(device))
        with torch.device("meta"):
            encoder = Encoder(architecture)
        encoder.load_canonical(weights, place, torch.float32, copied=True)
        return TorchLearner(encoder, place, dtype, optimization)

    def process(self) -> tuple[int, int]:
        """What torchrun says."""
        return process()

    @contextmanager
    def single_thread(self) -> Iterator[None]:
        """Keep each operator on one core until the last of those who ask for it has left."""
        with self._lock:
            if not self._users:
                self._before = torch.get_num_threads()
                torch.set_num_threads(1)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    torch.set_num_threads(self._before)


def _choose_functions() -> None:
    """Compute one number by MKL's vector functions, on one core.

    They choose their kernels at the first call. When that comes from two cores at once, some
    results of it are those of the fast kernels: with torch 2.13, cosines off by 1.5e-4.
    """
    torch.ones(1).cos()
