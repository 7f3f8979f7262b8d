"""`PaddleBackend`: what Paddle can do here, and how to keep it on one core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np

from riboswitch.architecture import Architecture
from riboswitch.cores import Threads, num_cores
from riboswitch.interfaces import Weights
from riboswitch.optimization import Optimization
from riboswitch_paddle.runtime import (
    GEMM,
    environment,
    on_device,
    quiet_import,
    use_cores,
    wants_avx2_hint,
)

with quiet_import():
    import paddle
    from paddle.base import core

    from riboswitch_paddle.backbone import Encoder, PaddleBackbone
    from riboswitch_paddle.learner import PaddleLearner, local_device, process


class PaddleBackend:
    """Paddle on the CPU or a GPU."""

    name = "paddle"

    def __init__(self) -> None:
        self.threads = Threads(num_cores(), use_cores)
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
        brain = paddle.amp.is_bfloat16_supported(_plain(device))
        return ("float32", *(("bfloat16",) if brain else ()), "float16", "float64")

    def build(
        self, architecture: Architecture, weights: Weights, *, device: str, dtype: str
    ) -> PaddleBackbone:
        """Make the layers, then give them each weight in turn."""
        device = _plain(device)
        self._prepare(device, dtype)
        with on_device(device):
            encoder = Encoder(architecture)
            encoder.load_canonical(weights, _place(device), dtype)
        encoder.eval()
        return PaddleBackbone(encoder, device, self.threads)

    def learner(
        self,
        architecture: Architecture,
        weights: Weights,
        *,
        device: str,
        dtype: str,
        optimization: Optimization,
    ) -> PaddleLearner:
        """Make layers of copied float32 weights, with AdamW."""
        device = local_device(device)
        self._prepare(device, dtype)
        with on_device(device):
            encoder = Encoder(architecture)
            encoder.load_canonical(weights, _place(device), "float32", trainable=True)
            return PaddleLearner(encoder, device, dtype, optimization, self.threads)

    def process(self) -> tuple[int, int]:
        """What Paddle's launcher says."""
        return process()

    @contextmanager
    def single_thread(self) -> Iterator[None]:
        """Keep each operator on one core."""
        with self.threads.single():
            yield

    def _prepare(self, device: str, dtype: str) -> None:
        self.threads.apply()
        if device != "cpu" and dtype == "float32":
            core.set_cublas_switch(False)  # else products are TF32's, of 10 bits


def _plain(device: str) -> str:
    """Paddle's own name of a device; `gpu` is the first one."""
    return "gpu:0" if device == "gpu" else device


def _place(device: str) -> object:
    if device == "cpu":
        return paddle.CPUPlace()
    return paddle.CUDAPlace(int(device.removeprefix("gpu:")))


def _choose_products() -> None:
    """Make the first product, at which MKL chooses its kernels for the whole process.

    The MKL of 2019 that Paddle brings takes its SSE kernels on every processor that is not
    Intel's, unless this variable asks for the AVX2 ones: 2.5 times as fast in float32. A
    process that has multiplied before keeps what it has.
    """
    ones = paddle.to_tensor(np.ones((2, 2), np.float32), place=paddle.CPUPlace())
    with environment(GEMM, "5") if wants_avx2_hint() else nullcontext():
        paddle.matmul(ones, ones)
