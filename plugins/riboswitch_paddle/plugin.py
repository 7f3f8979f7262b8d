"""What this package announces, before Paddle is imported."""

from __future__ import annotations

from riboswitch.hookspecs import impl
from riboswitch.interfaces import Backend, BackendEntry


@impl
def riboswitch_backends() -> list[BackendEntry]:
    """Paddle, on CPU and GPU."""
    entry = BackendEntry(
        name="paddle",
        requires=("paddle",),
        install='pip install "riboswitch[paddle]"',
        load=_load,
        priority=20,
    )
    return [entry]


def _load() -> Backend:
    from riboswitch_paddle.backend import PaddleBackend

    return PaddleBackend()
