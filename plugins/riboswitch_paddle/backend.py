"""`PaddleBackend`: what Paddle can do here, and how to keep it on one core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from riboswitch.architecture import Architecture
from riboswitch.interfaces import Weights
from riboswitch.model import num_cores
from riboswitch_paddle.runtime import GEMM, Threads, environment, quiet_import, wants_avx2_hint

with quiet_import():
    import paddle
    from paddle.base import core

    from riboswitch_paddle.backbone import Encoder, PaddleBackbone


class PaddleBackend:
    """Paddle on the CPU or a GPU."""

    name = "paddle"

    def __init__(self) -> None:
        self.threads = Threads(num_cores())
        _choose_products()

    @property
    def version(self) -> str:
        """Paddle's version."""
        return f"paddle {paddle.__version__}"

    def devices(self) -> tuple[str, ...]:
        """CUDA first, then the CPU."""
        count = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
        gpus = tuple(f"gpu:{i}" for i in range(count))
        return (*(("gpu", *gpus) if gpus else ()), "cpu")

    def dtypes(self, device: str) -> tuple[str, ...]:
        """Half precision on GPUs only: Paddle has no such products on the CPU."""
        if device == "cpu":
            return ("float32", "float64")
        brain = paddle.amp.is_bfloat16_supported(_place(device))
        return ("float32", *(("bfloat16",) if brain else ()), "float16", "float64")

    def build(
        self, architecture: Architecture, weights: Weights, *, device: str, dtype: str
    ) -> PaddleBackbone:
        """Make the layers, then give them each weight in turn."""
        encoder = Encoder(architecture)
        encoder.load_canonical(weights, _place(device), dtype)
        encoder.eval()
        return PaddleBackbone(encoder, _place(device), self.threads)

    @contextmanager
    def single_thread(self) -> Iterator[None]:
        """Keep each operator on one core."""
        with self.threads.single():
            yield
