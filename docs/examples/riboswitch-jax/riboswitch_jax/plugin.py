"""What this package announces, before jax is imported."""

from __future__ import annotations

from riboswitch.hookspecs import impl
from riboswitch.interfaces import Backend, BackendEntry


@impl
def riboswitch_backends() -> list[BackendEntry]:
    """JAX, on the CPU and whatever else XLA compiles for. `auto` never takes it."""
    entry = BackendEntry(
        name="jax",
        requires=("jax",),
        install="pip install riboswitch-jax",
        load=_load,
    )
    return [entry]


def _load() -> Backend:
    from riboswitch_jax.backend import JaxBackend

    return JaxBackend()
