"""Broken backends fail the contract: each breaks one promise, and the test of it notices."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from attrs import evolve
from tests.contract.broken import NUMPY, Backbone, Broken, announced, building, computing, run

from riboswitch.errors import CheckpointError
from riboswitch.interfaces import DTYPES
from riboswitch.registry import registry
from riboswitch.testing import BackendContract, ModelContract
from riboswitch.weights import LazyWeights

pytestmark = pytest.mark.slow


class TestBroken(BackendContract):
    __test__ = False
    backend = "broken"


def ignoring(**values) -> dict[str, object]:
    """Build as if the architecture had another value, where the weights allow it."""
    return building(lambda a, w: (a.evolve(values), w))


def swapped(architecture, weights):
    other = {"query": "key", "key": "query"}

    def make(name):
        parts = [other.get(part, part) for part in name.split(".")]
        return weights[".".join(parts)]

    return architecture, LazyWeights(weights, make)


def leaking(name, arrays, batch):
    mean = np.mean([a.mean() for a in arrays])
    return [a + a.dtype.type(mean * 1e-2) for a in arrays]


def scaled_by_neighbours(self, inner, batch, outputs):
    masked = (batch.ids == inner.architecture.mask_id).mean()
    found = inner.forward(batch, outputs)
    return {n: [a * a.dtype.type(1 + 1e-3 * masked) for a in found[n]] for n in found}


def by_length(name, arrays, batch):
    return [arrays[i] for i in np.argsort(batch.lengths, kind="stable")]


def chance(name, arrays, batch):
    kept = np.random.default_rng().random() < 0.5
    return [a * a.dtype.type(1 + 1e-6 * kept) for a in arrays]


def in_place(architecture, weights):
    for array in weights.values():
        with suppress(ValueError):
            array[...] *= 1
            array.flat[0] += 1
    return architecture, weights


def kept(architecture, weights):
    return architecture, {name: weights[name] for name in weights}


def read_twice(architecture, weights):
    return architecture, LazyWeights(weights, lambda name: weights[name] + 0 * weights[name])


def views(self, architecture, weights, *, device, dtype):
    kept = dict(weights)

    def forward(batch, outputs):
        fresh = NUMPY.build(architecture, kept, device=device, dtype=dtype)
        return fresh.forward(batch, outputs)

    inner = NUMPY.build(architecture, weights, device=device, dtype=dtype)
    return Backbone(SimpleNamespace(forward=forward, canonical=inner.canonical), self)


def rounded(self, inner):
    weights = inner.canonical()
    return LazyWeights(weights, lambda n: weights[n].astype("f2").astype(weights[n].dtype))


@contextmanager
def swallowing(self):
    with suppress(KeyError):
        yield


def memo():
    """Hand out the same arrays again."""
    known = {}

    def forward(self, inner, batch, outputs):
        key = (id(inner), batch.ids.tobytes(), batch.offsets.tobytes(), tuple(outputs))
        if key not in known:
            known[key] = inner, inner.forward(batch, outputs)
        return known[key][1]

    return {"forward": forward}


def scribbling(self, inner, batch, outputs):
    found = inner.forward(batch, outputs)
    batch.ids[:] = 1
    return found


def writeable(self, inner):
    weights = inner.canonical()
    return {**weights, "embedding.tokens": inner.weights["embedding.tokens"]}


def wrapping(self, architecture, weights, *, device, dtype):
    try:
        return Broken.build(self, architecture, weights, device=device, dtype=dtype)
    except BaseException as error:
        raise RuntimeError("building failed") from error


def all_of_them(self, inner, batch, outputs):
    return inner.forward(batch, outputs or ("representation",))


SHARED = {}


def shared(self, architecture, weights, *, device, dtype):
    made = Broken.build(self, architecture, weights, device=device, dtype=dtype)
    made.inner = SHARED.setdefault(architecture, made.inner)
    return made


def wide(name, arrays, batch):
    return [a.astype(np.float64) for a in arrays]


AGREES = "test_agrees_with_numpy_or_refuses"
MUTANTS = {
    "swaps query and key": (building(swapped), AGREES, "plain"),
    "ignores the norm's epsilon": (ignoring(norm_eps=1e-5), AGREES, "norm-eps"),
    "ignores the order of norms": (ignoring(norm="pre"), AGREES, "norm-stream"),
    "ignores the base": (ignoring(rotary_base=1e4), AGREES, "positions-rotary-base"),
    "ignores the offset": (ignoring(position_offset=0), AGREES, "positions-offset"),
    "ignores the activation": (ignoring(activation="gelu"), AGREES, "activation-relu"),
    "ignores the head's activation": (ignoring(lm_activation="gelu"), AGREES, "head-relu"),
    "ignores masks": (ignoring(token_dropout=None), AGREES, "token-dropout"),
    "ignores types": (ignoring(token_types=0), AGREES, "token-types"),
    "ignores the final norm": (ignoring(final_norm=False), AGREES, "plain"),
    "ties every head": (ignoring(tied=True), AGREES, "head-untied"),
    "sees neighbours": (computing(leaking), "test_neighbours_do_not_reach_a_sequence", None),
    "counts all masks": (
        {"forward": scaled_by_neighbours},
        "test_masks_of_a_neighbour_do_not_matter",
        None,
    ),
    "sorts by length": (computing(by_length), "test_order_and_duplicates_do_not_matter", None),
    "is random": (computing(chance), "test_a_call_repeats_itself_bit_for_bit", None),
    "is in training": (
        {"module": SimpleNamespace(training=True)},
        "test_the_module_is_in_evaluation_mode",
        None,
    ),
    "returns float64": (computing(wide), "test_names_shapes_and_dtypes_of_results", None),
    "returns tuples": (
        computing(lambda n, a, b: tuple(a)),
        "test_names_shapes_and_dtypes_of_results",
        None,
    ),
    "changes what it is given": (building(in_place), "test_what_it_is_given_stays_as_it_is", None),
    "keeps all weights": (building(kept), "test_weights_are_copied_one_after_the_other", None),
    "reads twice": (building(read_twice), "test_each_weight_is_read_once", None),
    "keeps views of the file": ({"build": views}, "test_read_only_weights_are_copied", None),
    "gives back half": (
        {"canonical": rounded},
        "test_canonical_gives_back_what_was_built_in",
        None,
    ),
    "shares its weights": ({"build": shared}, "test_two_models_do_not_share_anything", None),
    "swallows errors": (
        {"single_thread": swallowing},
        "test_single_thread_nests_and_is_left_in_any_order",
        None,
    ),
    "claims any dtype": (
        {"dtypes": lambda self, device: (*DTYPES, "int8")},
        "test_devices_and_dtypes_are_declared",
        None,
    ),
    "hands out its own results": (
        memo(),
        "test_what_goes_in_and_comes_out_is_the_caller_s",
        None,
    ),
    "scribbles on the batch": (
        {"forward": scribbling},
        "test_what_goes_in_and_comes_out_is_the_caller_s",
        None,
    ),
    "shows its weights": (
        {"canonical": writeable},
        "test_what_canonical_gives_cannot_change_the_encoder",
        None,
    ),
    "answers when nothing is asked": (
        {"forward": all_of_them},
        "test_what_is_not_asked_for_or_not_there",
        None,
    ),
    "has no version": ({"version": " "}, "test_it_is_announced_and_starts", None),
    "has another name": ({"name": "other"}, "test_it_is_announced_and_starts", None),
}


@pytest.fixture
def announce(install):
    return partial(announced, install, TestBroken)


@pytest.mark.parametrize(("test", "parameter"), sorted({m[1:] for m in MUTANTS.values()}, key=str))
def test_the_sound_one_passes(announce, test, parameter):
    run(announce({}), test, parameter)


@pytest.mark.parametrize("test", ["devices_and_dtypes_are_declared", "outputs_fit_each_other"])
def test_a_backend_need_not_compute_in_float32(announce, test):
    run(announce({"dtypes": lambda self, device: ("float64",)}), f"test_{test}", None)


def test_what_a_backend_of_float64_saves_loads_elsewhere(announce, tmp_path):
    contract = announce({"dtypes": lambda self, device: ("float64",)})
    contract.test_what_is_saved_loads_elsewhere(tmp_path)


def test_a_backend_of_half_precision_alone_fails(announce):
    contract = announce({"dtypes": lambda self, device: ("bfloat16",)})
    with pytest.raises(AssertionError):
        contract.test_devices_and_dtypes_are_declared()


def test_a_model_is_compared_on_a_backend_without_float32(announce):
    announce({"dtypes": lambda self, device: ("float64",), "devices": lambda self: ("gpu",)})
    contract = type("TestModel", (ModelContract,), {"model": "rnafm"})()
    assert "broken" in registry().able()
    contract.test_random_weights_agree_on_every_backend()


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_one_fails(announce, mutant):
    parts, test, parameter = MUTANTS[mutant]
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run(announce(parts), test, parameter)


@pytest.mark.parametrize("error", [CheckpointError, MemoryError, KeyboardInterrupt])
def test_a_backend_that_changes_errors_fails(announce, error):
    announce({}).test_the_error_of_a_weight_passes_through(error)
    with pytest.raises(RuntimeError, match="building failed"):
        announce({"build": wrapping}).test_the_error_of_a_weight_passes_through(error)


@pytest.mark.parametrize("refuses", [lambda a: True, lambda a: "", lambda a: 1 / 0])
def test_a_refusal_without_words_fails(announce, refuses):
    contract = announce({}, refuses=refuses)
    with pytest.raises((AssertionError, ZeroDivisionError)):
        contract.test_refusals_are_clauses()


def test_a_backend_that_refuses_everything_fails(announce):
    contract = announce({}, refuses=lambda a: "nothing suits it")
    contract.test_agrees_with_numpy_or_refuses("plain")
    with pytest.raises(AssertionError, match="it refuses every architecture"):
        contract.test_outputs_fit_each_other()


HEAVY = """
from riboswitch import impl
from riboswitch.interfaces import BackendEntry
{top}

def refuses(architecture):
    {inner}

@impl
def riboswitch_backends():
    return [BackendEntry(name="broken", requires=("wave",), install="-", load=lambda: None,
                         refuses=refuses)]
"""


@pytest.mark.parametrize(
    ("top", "inner", "heavy"),
    [
        ("", "", ""),
        ("import wave", "", "wave"),
        ("", "import wave", "wave"),
        ("import flax", "", "flax"),
    ],
)
def test_a_plugin_that_imports_a_framework_fails(plant, monkeypatch, tmp_path, top, inner, heavy):
    plant(evolve(registry().backends["numpy"], name="broken"))
    (tmp_path / "flax.py").touch()
    info = tmp_path / "heavy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heavy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[riboswitch]\nheavy = heavy_plugin\n")
    (tmp_path / "heavy_plugin.py").write_text(HEAVY.format(top=top, inner=inner or "return None"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    if not heavy:
        TestBroken().test_announcing_it_imports_no_framework()
        return
    with pytest.raises(AssertionError, match=heavy):
        TestBroken().test_announcing_it_imports_no_framework()
