"""`BackendCase`: the facts of a backend, and how its tests build and compare."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np
from attrs import asdict, evolve

from riboswitch.architecture import Architecture
from riboswitch.batch import TokenBatch
from riboswitch.interfaces import DTYPES, Array, Backbone, Backend, BackendEntry, Weights
from riboswitch.model import Model
from riboswitch.registry import refusal, registry
from riboswitch.testing.contract import Contract
from riboswitch.testing.lively import lively_weights
from riboswitch.testing.shapes import CHANGES, grown, outputs_of, shape
from riboswitch.testing.tolerances import TOLERANCES

HALF = ("bfloat16", "float16")
PRECISE = ("float32", "float64")
MOST = 0.25
"""What `half_tolerance` may allow at most: further off is another result."""
Results = Mapping[str, Sequence[Array]]
Stray = tuple[float, str]
"""How far results may be off, and why."""


class BackendCase(Contract):
    """What the tests of a backend share; see `BackendContract` for the facts."""

    backend: ClassVar[str]
    device: ClassVar[str] = "cpu"
    sizes: ClassVar[Mapping[str, Any]] = {}
    half_tolerance: ClassVar[Mapping[str, Stray]] = {}
    same_bits: ClassVar[Mapping[str, str]] = {}
    zeroed: ClassVar[Callable[[Any], object] | None] = None

    @classmethod
    def _check_facts(cls, facts: Any) -> None:
        super()._check_facts(facts)
        _check_strays(facts.half_tolerance)
        for dtype, reason in facts.same_bits.items():
            if dtype not in DTYPES or not isinstance(reason, str) or not reason.strip():
                raise TypeError(f"same_bits has a dtype and its reason, not {dtype!r}: {reason!r}")

    def _look_up(self) -> None:
        assert self.entry

    @property
    def entry(self) -> BackendEntry:
        """As the plugin announces it."""
        known = registry().backends
        if self.backend not in known:
            registry().backend(self.backend)  # says so, with the nearest name
        return known[self.backend]

    @property
    def started(self) -> Backend:
        """The backend, its framework imported."""
        return registry().backend(self.backend)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Those that it declares for the device."""
        return self.started.dtypes(self.device)

    @property
    def precise(self) -> str:
        """float32, in which most tests compute; float64 where that is not declared."""
        return next((dtype for dtype in PRECISE if dtype in self.dtypes), PRECISE[0])

    def shapes(self) -> Iterator[tuple[str, Architecture]]:
        """Names and architectures that it does not refuse."""
        made = {name: shape(name, self.sizes) for name in CHANGES}
        taken = {n: a for n, a in made.items() if not refusal(self.entry, a)}
        assert taken, "it refuses every architecture; `sizes` may give it some that it takes"
        yield from taken.items()

    def covering(self) -> Iterator[tuple[str, Architecture]]:
        """As few of them as have every kind of weight."""
        seen: set[str] = set()
        for name, architecture in sorted(self.shapes(), key=lambda each: -len(_kinds(each[1]))):
            if kinds := _kinds(architecture) - seen:
                seen |= kinds
                yield name, architecture

    def grown(self, layers: int) -> Architecture | None:
        """One of a real vocabulary and length, rotary if it can be; None if it refuses each."""
        shapes = sorted(self.shapes(), key=lambda each: each[1].positions != "rotary")
        made = (grown(architecture, self.sizes, layers) for _, architecture in shapes)
        return next((each for each in made if not refusal(self.entry, each)), None)

    def build(
        self,
        architecture: Architecture,
        dtype: str | None = None,
        weights: Weights | None = None,
    ) -> Backbone:
        """Make a backbone, of lively weights unless others are given."""
        weights = lively_weights(architecture) if weights is None else weights
        dtype = dtype or self.precise
        return self.started.build(architecture, weights, device=self.device, dtype=dtype)

    def run(self, backbone: Backbone, batch: TokenBatch, outputs: Sequence[str]) -> Results:
        """Compute on one core: for the small batches of a test that is faster than two."""
        with self.started.single_thread():
            return backbone.forward(batch, outputs)

    def model(self, architecture: Architecture) -> Model:
        """Make a `Model`, as if the first registered one had this architecture."""
        entry = next(iter(registry().models.values()))
        sizes = {"vocab_size": len(entry.alphabet), "mask_id": entry.alphabet.mask_id}
        architecture = architecture.evolve(sizes)
        weights = lively_weights(architecture)
        backbone = self.build(architecture, weights=weights)
        entry = evolve(entry, architecture=architecture)
        return Model(entry, self.started, backbone, weights, self.device, self.precise)

    def near(self, found: Results, expected: Results, dtype: str, what: str) -> None:
        """Compare with the judge, by the table."""
        assert found.keys() == expected.keys(), what
        for name in expected:
            pairs = list(zip(found[name], expected[name], strict=True))
            far = max(apart(a, b, dtype) for a, b in pairs)
            most = TOLERANCES["backends", dtype]
            most, _ = self.half_tolerance.get(dtype, (most, ""))
            assert far <= most, f"{what}: {name} in {dtype} is {far:.2g} off, more than {most:.2g}"


def _check_strays(strays: Mapping[str, Stray]) -> None:
    """Each is of half precision, has an end and a reason."""
    if strict := strays.keys() - {*HALF}:
        raise TypeError(f"half_tolerance is for half precision, not for {', '.join(strict)}")
    for dtype, stray in strays.items():
        most, reason = stray if isinstance(stray, tuple) and len(stray) == 2 else (stray, "")
        if not isinstance(reason, str) or not reason.strip():
            raise TypeError(
                f"half_tolerance allows {most} in {dtype} without a reason.\n"
                f'Give one: {{"{dtype}": ({most}, "why it is further off")}}'
            )
        if not 0 < most <= MOST:
            raise TypeError(f"half_tolerance allows {most} in {dtype}; {MOST} is the most.")


def _kinds(architecture: Architecture) -> set[str]:
    """Its weights' names, without the layers' numbers."""
    return {re.sub(r"\.\d+\.", ".", name) for name in architecture.parameter_shapes()}


def on(backend: Backend) -> str:
    """The device to compare on: the CPU where the backend has it."""
    devices = backend.devices()
    return "cpu" if "cpu" in devices else devices[0]


def apart(found: Array, expected: Array, dtype: str) -> float:
    """How far two arrays differ; infinite where a number is none.

    The largest difference, and in half precision the mean one over the mean size.
    """
    assert found.shape == expected.shape
    wide = found.astype(np.float64)
    difference = np.abs(np.where(np.isfinite(wide), wide, np.inf) - expected)
    if dtype in HALF:
        return float(difference.mean() / max(1e-3, np.abs(expected).mean()))
    return float(difference.max())


def same(found: Results, expected: Results, atol: float, what: str) -> None:
    """Compare two results of one backend; 0 asks for the same bits."""
    assert found.keys() == expected.keys(), what
    for name in expected:
        for a, b in zip(found[name], expected[name], strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{what}: {name}"
            far = float(np.abs(a - b).max(initial=0)) if np.isfinite(a).all() else np.inf
            assert far <= atol, f"{what}: {name} differs by {far:.2g}, more than {atol:.2g}"


@cache
def judged(
    architecture: Architecture, ids: bytes, offsets: tuple[int, ...], outputs: tuple[str, ...]
) -> Results:
    """What NumPy computes in float64."""
    batch = TokenBatch(np.frombuffer(ids, np.int32), offsets)
    judge = registry().backend("numpy")
    weights = lively_weights(architecture)
    backbone = judge.build(architecture, weights, device="cpu", dtype="float64")
    return backbone.forward(batch, outputs)


def judge(
    architecture: Architecture, batch: TokenBatch, outputs: tuple[str, ...] | None = None
) -> Results:
    """What NumPy computes in float64 of lively weights, computed once for all backends.

    All outputs that there are, or those few that are named.
    """
    outputs = outputs_of(architecture) if outputs is None else outputs
    return judged(architecture, batch.ids.tobytes(), tuple(batch.offsets.tolist()), outputs)


def described(architecture: Architecture) -> dict[str, Any]:
    """All values of an architecture, as `load(…, architecture=…)` takes them."""
    return asdict(architecture)
