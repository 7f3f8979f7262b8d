"""`NumpyBackend`: what NumPy can do here, and how to keep it on one core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from riboswitch.architecture import Architecture
from riboswitch.interfaces import Weights
from riboswitch_numpy.backbone import NumpyBackbone


class NumpyBackend:
    """NumPy on the CPU, in float32 or float64."""

    name = "numpy"

    def __init__(self) -> None:
        self._libraries = ThreadpoolController()  # finding them takes milliseconds
        self._lock, self._users = Lock(), 0
        self._limit: Any = None

    @property
    def version(self) -> str:
        """NumPy's version."""
        return f"numpy {np.__version__}"

    def devices(self) -> tuple[str, ...]:
        """The CPU."""
        return ("cpu",)

    def dtypes(self, device: str) -> tuple[str, ...]:
        """NumPy has no bfloat16, and its float16 is slower than float32."""
        del device
        return ("float32", "float64")

    def build(
        self, architecture: Architecture, weights: Weights, *, device: str, dtype: str
    ) -> NumpyBackbone:
        """Read the weights into an encoder."""
        del device
        return NumpyBackbone(architecture, weights, np.dtype(dtype))

    @contextmanager
    def single_thread(self) -> Iterator[None]:
        """Keep BLAS on one core until the last of those who ask for it has left."""
        with self._lock:
            if not self._users:
                self._limit = self._libraries.limit(limits=1, user_api="blas")
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._limit.restore_original_limits()
