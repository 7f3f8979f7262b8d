"""Broken models and layouts fail their contracts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from attrs import evolve

from riboswitch.interfaces import Description
from riboswitch.registry import registry
from riboswitch.testing import LayoutContract, ModelContract

pytestmark = pytest.mark.slow

REG = registry()
SIZES = {"hidden_size": 48, "num_layers": 2}
ERNIE, FM = REG.models["rnaernie"], REG.models["rnafm"]
MODELS = {
    "another name": (evolve(ERNIE, name="other"), "it_is_registered"),
    "no licence": (evolve(ERNIE, licence=""), "it_is_registered"),
    "a source of two lines": (evolve(ERNIE, source="a\nb"), "it_is_registered"),
    "another mask": (
        evolve(ERNIE, architecture=evolve(ERNIE.architecture, mask_id=0)),
        "alphabet_and_architecture_fit",
    ),
    "no room": (
        evolve(ERNIE, architecture=evolve(ERNIE.architecture, max_positions=2)),
        "alphabet_and_architecture_fit",
    ),
    "a hash that is none": (
        evolve(ERNIE, released=evolve(ERNIE.released, sha256="md5:1")),
        "released_weights_are_described",
    ),
    "weights from nowhere": (
        evolve(ERNIE, released=evolve(ERNIE.released, source=SimpleNamespace(page="ftp://x"))),
        "released_weights_are_described",
    ),
}


class TestBrokenModel(ModelContract):
    __test__ = False
    model = "rnaernie"


class TestBrokenLayout(LayoutContract):
    __test__ = False
    layout = "rnafm"
    models = ("rnafm",)


@pytest.mark.parametrize("mutant", MODELS)
def test_a_broken_model_fails(mutant, plant):
    entry, test = MODELS[mutant]
    plant(entry, "rnaernie")
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(TestBrokenModel(), f"test_{test}")()


def mute(layout):
    return evolve(layout, describe=lambda checkpoint: None)


def wordless(layout):
    """Say less of the architecture than it knows."""
    return evolve(
        layout, form=lambda held: evolve(FORM(held), texts={}), describe=lambda c: DESCRIBED
    )


def crude(layout):
    """Give up numbers on the way."""
    rules = layout.rules
    return evolve(layout, rules=lambda a, c: [evolve(r, zero_row=0) if r.canonical ==
                  "layers.{i}.feed_forward.up.weight" else r for r in rules(a, c)])  # fmt: skip


def forgiving(layout):
    """Take another tensor for one that is missing."""

    def rules(architecture, checkpoint):
        for rule in layout.rules(architecture, checkpoint):
            lacking = rule.file == NORM and checkpoint.tensors and NORM not in checkpoint.tensors
            yield evolve(rule, file=NORM.replace("bias", "weight")) if lacking else rule

    return evolve(layout, rules=rules)


NORM = "emb_layer_norm_after.bias"
FORM, DESCRIBED = REG.layouts["rnafm"].form, Description(family="rnafm", changes=SIZES)
LAYOUTS: dict[str, tuple[Callable, str]] = {
    "recognises nothing": (mute, "weights_come_back_bit_for_bit"),
    "is only read": (lambda layout: evolve(layout, form=None), "it_is_registered"),
    "has another name": (lambda layout: evolve(layout, name="other"), "it_is_registered"),
    "says too little": (wordless, "weights_come_back_bit_for_bit"),
    "makes up what is missing": (forgiving, "a_missing_tensor_is_an_error"),
    "loses numbers": (crude, "nothing_is_lost_but_tokens_and_parts"),
}


@pytest.mark.parametrize("mutant", LAYOUTS)
def test_a_broken_layout_fails(mutant, plant, tmp_path):
    change, test = LAYOUTS[mutant]
    plant(change(REG.layouts["rnafm"]), "rnafm")
    function = getattr(TestBrokenLayout(), f"test_{test}")
    known = {"tmp_path": tmp_path, "dtype": "float32"}
    with pytest.raises((Exception, pytest.fail.Exception)):  # whatever it runs into
        function(**{n: known[n] for n in inspect.signature(function).parameters})


def test_a_layout_that_takes_another_for_its_own_is_noticed(plant, tmp_path):
    greedy = evolve(
        REG.layouts["rinalmo"], describe=lambda c: Description(family="rinalmo", changes=SIZES)
    )
    plant(greedy)
    with pytest.raises(pytest.fail.Exception, match="rinalmo takes rnafm in rnafm for its own"):
        TestBrokenLayout().test_no_other_layout_takes_it_for_its_own(tmp_path)


def test_the_sound_ones_pass(tmp_path):
    TestBrokenLayout().test_weights_come_back_bit_for_bit(tmp_path, "float32")
    for test in {test for _, test in MODELS.values()}:
        getattr(TestBrokenModel(), f"test_{test}")()
