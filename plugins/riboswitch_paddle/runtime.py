"""How Paddle is started and kept in hand: its import, its matrix products, its threads."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GEMM = "MKL_DEBUG_CPU_TYPE"
CPUS = Path("/proc/cpuinfo")


@contextmanager
def quiet_import() -> Iterator[None]:
    """Import Paddle inside: without its known warnings, leaving the environment alone.

    Paddle sets `OMP_NUM_THREADS` to 1 for the whole process, which would tell everything else
    to use one core, and complains on stderr where it is higher.
    """
    with warnings.catch_warnings(), environment("OMP_NUM_THREADS", "1"):
        # It looks for a compiler cache that only builders of custom operators need.
        warnings.filterwarnings("ignore", "No ccache found", UserWarning)
        yield


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """Set a variable for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def wants_avx2_hint() -> bool:
    """Whether this is an AMD processor with AVX2, which Paddle's MKL does not recognise."""
    if GEMM in os.environ or not CPUS.exists():
        return False
    text = CPUS.read_text(encoding="utf-8", errors="replace")
    return "AuthenticAMD" in text and " avx2 " in text and " fma " in text


def use_cores(cores: int) -> None:
    """Tell Paddle how many cores a call may use, and that it is to compute at once.

    OpenMP's number belongs to the calling thread and MKL's to the process, so each call of the
    encoder tells it anew. Every thread but the one that imported Paddle is in static mode, when
    that was not the main one.
    """
    import paddle
    from paddle.base import core

    core.set_num_threads(cores)
    if not paddle.in_dynamic_mode():
        paddle.disable_static()


@contextmanager
def on_device(device: str) -> Iterator[None]:
    """Make a GPU the current one, as its kernels need; the CPU's do without.

    Paddle keeps one current device for the process and CUDA one for each thread, so it is set
    even where Paddle believes that it is.
    """
    if device == "cpu":
        yield
        return
    import paddle

    before = paddle.get_device()
    paddle.set_device(device)
    try:
        yield
    finally:
        if before != device:
            paddle.set_device(before)
