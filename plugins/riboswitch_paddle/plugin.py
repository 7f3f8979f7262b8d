"""What this package announces, before Paddle is imported."""

from __future__ import annotations

from riboswitch.architecture import Architecture
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
        trains=True,
        refuses=refuses,
    )
    return [entry]


def refuses(architecture: Architecture) -> str | None:
    """Say what Paddle's LayerNorm does not take."""
    if architecture.norm_eps > 1e-3:
        return f"Paddle's LayerNorm takes an epsilon up to 0.001, not {architecture.norm_eps}"
    return None


def _load() -> Backend:
    from riboswitch_paddle.backend import PaddleBackend

    return PaddleBackend()
