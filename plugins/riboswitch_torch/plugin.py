"""What this package announces, before torch is imported."""

from __future__ import annotations

from riboswitch.hookspecs import impl
from riboswitch.interfaces import Backend, BackendEntry


@impl
def riboswitch_backends() -> list[BackendEntry]:
    """PyTorch, on CPU and GPU."""
    entry = BackendEntry(
        name="torch",
        requires=("torch",),
        install='pip install "riboswitch[torch]"',
        load=_load,
        priority=30,
        trains=True,
    )
    return [entry]


def _load() -> Backend:
    from riboswitch_torch.backend import TorchBackend

    return TorchBackend()
