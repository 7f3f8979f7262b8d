"""What this package announces."""

from __future__ import annotations

from riboswitch.hookspecs import impl
from riboswitch.interfaces import Backend, BackendEntry


@impl
def riboswitch_backends() -> list[BackendEntry]:
    """The backend of the base install."""
    entry = BackendEntry(
        name="numpy",
        requires=("numpy", "threadpoolctl"),
        install="pip install riboswitch",
        load=_load,
        priority=10,
    )
    return [entry]


def _load() -> Backend:
    from riboswitch_numpy.backend import NumpyBackend

    return NumpyBackend()
