"""Backends that are broken only in long, many or other calls, threads, weights or dtypes."""

from __future__ import annotations

import copy
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from tests.contract.broken import Broken, announced, building, computing, run

from riboswitch.batch import TokenBatch
from riboswitch.interfaces import DTYPES
from riboswitch.testing import BackendContract
from riboswitch.weights import LazyWeights

pytestmark = pytest.mark.slow


class TestBroken(BackendContract):
    __test__ = False
    backend = "broken"


@pytest.fixture
def announce(install):
    return partial(announced, install, TestBroken)


def as_text():
    """Layers in the order of their numbers as text, and back."""

    def renamed(weights, numbers):
        def make(name):
            parts = name.split(".")
            if parts[0] == "layers":
                parts[1] = numbers[int(parts[1])]
            return weights[".".join(parts)]

        return LazyWeights(weights, make)

    def order(layers):
        return sorted(map(str, range(layers)))

    def build(self, a, weights, **place):
        return Broken.build(self, a, renamed(weights, order(a.num_layers)), **place)

    def canonical(self, inner):
        numbers = order(inner.architecture.num_layers)
        back = {int(n): str(i) for i, n in enumerate(numbers)}
        return renamed(inner.canonical(), back)

    return {"build": build, "canonical": canonical}


def zero(found, which=lambda i: True):
    return {n: [a * (not which(i)) for i, a in enumerate(found[n])] for n in found}


def short(self, inner, batch, outputs):
    return zero(inner.forward(batch, outputs), lambda i: batch.lengths[i] > 400)


def small(self, inner, batch, outputs):
    found = inner.forward(batch, outputs)
    return found if len(batch.ids) <= 1024 else zero(found)


def four_bits(self, inner, batch, outputs):
    return inner.forward(TokenBatch(batch.ids % 16, batch.offsets), outputs)


def first_table(self, inner, batch, outputs):
    """Angles for the longest sequence of the first call."""
    if not hasattr(inner, "rows"):
        inner.rows = max(batch.lengths.max(), 16)
    rotary = inner.architecture.positions == "rotary"
    found = inner.forward(batch, outputs)
    return zero(found, lambda i: rotary and batch.lengths[i] > inner.rows)


def one_buffer(self, inner, batch, outputs):
    """What a captured graph writes to."""
    inner.buffers = buffers = getattr(inner, "buffers", {})
    found = inner.forward(batch, outputs)
    for name, arrays in found.items():
        for i, array in enumerate(arrays):
            buffer = buffers.setdefault((name, *batch.lengths, i), np.empty_like(array))
            buffer[...] = array
            arrays[i] = buffer.view()
            arrays[i].flags.writeable = False
    return found


def on_itself(self, inner, batch, outputs):
    inner.batch = batch
    time.sleep(0)  # as whatever releases the interpreter's lock
    return inner.forward(inner.batch, outputs)


def scratch(self, inner, batch, outputs):
    inner.ids = known = getattr(inner, "ids", {})
    ids = known.setdefault((*batch.lengths,), np.empty_like(batch.ids))
    ids[...] = batch.ids
    time.sleep(1e-3)
    return inner.forward(TokenBatch(ids, batch.offsets), outputs)


def in_c(weight):
    """What an extension reads that takes the memory as it lies."""
    return np.frombuffer(weight.tobytes("A"), weight.dtype).reshape(weight.shape)


def single(weight):
    assert weight.dtype == np.float32, f"{weight.dtype} is not float32"
    return weight


def reading(change):
    return building(lambda a, w: (a, LazyWeights(w, lambda name: change(w[name]))))


def shortened(array, dtype):
    """Round to what a dtype holds."""
    if dtype == "bfloat16":
        return (array.astype("f4").view("u4") & np.uint32(0xFFFF0000)).view("f4")
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def half(**rounding):
    """Every dtype is declared; weights and results are rounded to another where it is named."""

    def build(self, architecture, weights, *, device, dtype):
        kind = rounding.get(dtype, dtype)
        lazy = LazyWeights(weights, lambda name: shortened(weights[name], kind).astype("f8"))
        wide = dtype if dtype == "float64" else "float32"
        made = Broken.build(self, architecture, lazy, device=device, dtype=wide)
        made.inner.kind = kind
        return made

    def forward(self, inner, batch, outputs):
        with np.errstate(invalid="ignore"):
            found = inner.forward(batch, outputs)
        return {n: [shortened(a, inner.kind).astype(a.dtype) for a in found[n]] for n in found}

    return {"dtypes": lambda self, device: DTYPES, "build": build, "forward": forward}


def with_copies(self, architecture, weights, **place):
    made = Broken.build(self, architecture, weights, **place)
    made.module = SimpleNamespace(weights=copy.deepcopy(made.inner.weights))
    return made


def with_a_copy_for_canonical(self, architecture, weights, **place):
    made = Broken.build(self, architecture, weights, **place)
    made.module = SimpleNamespace(weights=made.inner.weights)
    made.canonical = copy.deepcopy(made.inner).canonical
    return made


DEEP, LONG = "twelve_layers_and_a_vocabulary_of_300", "a_long_sequence_after_a_short_one"
MANY, THREADS = "many_sequences_at_once", "calls_may_run_side_by_side"
CALLERS = "what_goes_in_and_comes_out_is_the_caller_s"
WEIGHTS, MODULE = (
    "weights_come_in_any_dtype_and_order",
    "the_module_holds_the_parameters_themselves",
)
NUMBERS, RANGE = "each_dtype_has_its_own_numbers", "bfloat16_has_the_range_of_float32"
MUTANTS: dict[str, tuple[dict[str, object], str]] = {
    "sorts layers as text": (as_text(), DEEP),
    "keeps four bits of an id": ({"forward": four_bits}, DEEP),
    "computes 400 tokens": ({"forward": short}, LONG),
    "never grows its table": ({"forward": first_table}, LONG),
    "computes 1024 tokens at once": ({"forward": small}, MANY),
    "turns 17 sequences round": (computing(lambda n, a, b: a[:: 1 if len(a) < 17 else -1]), MANY),
    "has one buffer for all calls": ({"forward": one_buffer}, CALLERS),
    "has the batch on itself": ({"forward": on_itself}, THREADS),
    "has ids by their lengths": ({"forward": scratch}, THREADS),
    "reads memory as it lies": (reading(in_c), WEIGHTS),
    "reads float32 alone": (reading(single), WEIGHTS),
    "has float32 by another name": (half(float16="float32"), NUMBERS),
    "has bfloat16 of five bits": (half(bfloat16="float16"), RANGE),
    "has a module of copies": ({"build": with_copies}, MODULE),
    "tells what it was built of": ({"build": with_a_copy_for_canonical}, MODULE),
}
TESTS = (DEEP, LONG, MANY, THREADS, CALLERS, WEIGHTS, NUMBERS, RANGE, MODULE)


@pytest.mark.parametrize("test", TESTS)
def test_the_sound_one_passes(announce, test):
    run(announce({}), f"test_{test}")


@pytest.mark.parametrize("test", [MANY, NUMBERS, RANGE])
def test_half_precision_passes(announce, test):
    run(announce(half()), f"test_{test}")


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_one_fails(announce, mutant):
    parts, test = MUTANTS[mutant]
    with pytest.raises(AssertionError):
        run(announce(parts), f"test_{test}")


def stating(install, parts, **facts):
    kind = type("TestStating", (TestBroken,), facts)
    return announced(install, kind, parts)


def test_the_bits_of_another_dtype_may_have_a_reason(install):
    said = {"float16": "the chip has float32 alone"}
    run(stating(install, half(float16="float32"), same_bits=said), f"test_{NUMBERS}")
    with pytest.raises(AssertionError, match=r"same_bits names .*float16"):
        run(stating(install, half(), same_bits=said), f"test_{NUMBERS}")


def test_a_module_may_be_of_a_kind_of_its_own(install):
    class Sealed:
        __slots__ = ("inner",)

    def build(self, architecture, weights, **place):
        made = Broken.build(self, architecture, weights, **place)
        made.module = Sealed()
        made.module.inner = made.inner
        return made

    def zeroed(module):
        for array in module.inner.weights.values():
            array[...] = 0

    with pytest.raises(AssertionError, match="`zeroed` may say how"):
        run(stating(install, {"build": build}), f"test_{MODULE}")
    run(stating(install, {"build": build}, zeroed=staticmethod(zeroed)), f"test_{MODULE}")


def test_what_is_refused_is_not_asked_for(announce):
    contract = announce({"forward": small}, refuses=lambda a: "300" * (a.vocab_size > 99) or None)
    for test in (DEEP, LONG, MANY):
        run(contract, f"test_{test}")
