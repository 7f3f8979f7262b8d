"""`PaddleNLPBackend`: RNAErnie as its authors run it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from riboswitch.architecture import Architecture
from riboswitch.cores import Threads, num_cores
from riboswitch.interfaces import Weights
from riboswitch_paddlenlp.runtime import on_device, quiet_import, use_cores

with quiet_import():
    import paddle
    import paddlenlp
    from paddle.base import core

    from riboswitch_paddlenlp.backbone import PaddleNLPBackbone, make_module


class PaddleNLPBackend:
    """PaddleNLP's `ErnieModel`, on the CPU or a GPU."""

    name = "paddlenlp"

    def __init__(self) -> None:
        self.threads = Threads(num_cores(), use_cores)

    @property
    def version(self) -> str:
        """Both versions: PaddleNLP works with few of Paddle's."""
        return f"paddlenlp {paddlenlp.__version__}, paddle {paddle.__version__}"

    def devices(self) -> tuple[str, ...]:
        """CUDA first, then the CPU."""
        count = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
        gpus = tuple(f"gpu:{i}" for i in range(count))
        return (*(("gpu", *gpus) if gpus else ()), "cpu")

    def dtypes(self, device: str) -> tuple[str, ...]:
        """Full precision only: `ErnieModel` leaves half precision to Paddle's AMP."""
        del device
        return ("float32", "float64")

    def build(
        self, architecture: Architecture, weights: Weights, *, device: str, dtype: str
    ) -> PaddleNLPBackbone:
        """Make PaddleNLP's module and give it the weights under its own names."""
        device = "gpu:0" if device == "gpu" else device
        if device != "cpu":
            core.set_cublas_switch(False)  # else products are TF32's, of 10 bits
        self.threads.apply()
        with on_device(device):
            module = make_module(architecture, weights, device, dtype)
        return PaddleNLPBackbone(module, architecture, device, self.threads)

    @contextmanager
    def single_thread(self) -> Iterator[None]:
        """Keep each operator on one core."""
        with self.threads.single():
            yield
