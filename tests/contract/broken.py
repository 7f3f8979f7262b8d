"""NumPy behind a backend of a stranger's, for tests that replace one of its parts."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from riboswitch.registry import registry
from riboswitch.testing import BackendContract

NUMPY = registry().backend("numpy")


class Backbone:
    def __init__(self, inner, broken) -> None:
        self.inner, self.broken, self.module = inner, broken, broken.module or inner

    def forward(self, batch, outputs):
        return self.broken.forward(self.inner, batch, outputs)

    def canonical(self):
        return self.broken.canonical(self.inner)


class Broken:
    """NumPy, until one of its parts is replaced."""

    name, version, module = "broken", "0", None

    def devices(self):
        return ("cpu",)

    def dtypes(self, device):
        return NUMPY.dtypes(device)

    def build(self, architecture, weights, *, device, dtype):
        return Backbone(NUMPY.build(architecture, weights, device=device, dtype=dtype), self)

    def forward(self, inner, batch, outputs):
        return inner.forward(batch, outputs)

    def canonical(self, inner):
        return inner.canonical()

    single_thread = NUMPY.single_thread


def building(change: Callable) -> dict[str, object]:
    """Build with another architecture or other weights."""

    def build(self, architecture, weights, *, device, dtype):
        return Broken.build(self, *change(architecture, weights), device=device, dtype=dtype)

    return {"build": build}


def computing(change: Callable) -> dict[str, object]:
    """Change each output, given its name, arrays and batch."""

    def forward(self, inner, batch, outputs):
        found = inner.forward(batch, outputs)
        return {name: change(name, arrays, batch) for name, arrays in found.items()}

    return {"forward": forward}


def announced(install: Callable, contract: type[BackendContract], parts, **changes):
    """A contract's object, its backend being `Broken` with other parts."""
    backend = type("Mutant", (Broken,), parts)()
    entry = evolve(registry().backends["numpy"], name="broken", load=lambda: backend, **changes)
    install(riboswitch_backends=lambda: [entry])
    return contract()


def run(contract: BackendContract, test: str, parameter: str | None = None) -> None:
    getattr(contract, test)(*([parameter] if parameter else []))
