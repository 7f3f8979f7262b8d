"""Layouts that leave out what they do not know fail both contracts."""

from __future__ import annotations

from typing import ClassVar

import pytest
from attrs import evolve

from riboswitch.conversion.write import save
from riboswitch.registry import registry
from riboswitch.testing import LayoutContract, ReadOnlyLayoutContract
from riboswitch.testing.layout_case import quiet, small, weights_of

RNAFM = registry().layouts["rnafm"]
LAX = {
    "all": (".*",),
    "all but its own": (r"^(?!encoder\.|emb_layer)",),
    "letters of a text that is no tuple": tuple("lm_head"),
    "nothing, in one of several": (r"^cls\.", ""),
}


def written(path):
    model = small(registry().model("rnafm"))
    with quiet():
        save(model, weights_of(model), path, "rnafm")


class TestWritten(LayoutContract):
    __test__ = False
    layout = "rnafm"
    models = ("rnafm",)


class TestRead(ReadOnlyLayoutContract):
    __test__ = False
    layout = "rnafm"
    examples: ClassVar = {"rnafm": written}
    architecture: ClassVar = {"num_heads": 4}


@pytest.mark.parametrize("contract", [TestWritten, TestRead])
@pytest.mark.parametrize("field", ["ignored", "derived"])
@pytest.mark.parametrize("patterns", LAX)
def test_one_that_leaves_out_what_it_does_not_know_fails(
    plant, tmp_path, contract, field, patterns
):
    plant(evolve(RNAFM, **{field: LAX[patterns]}), "rnafm")
    with pytest.raises(pytest.fail.Exception, match=r"leaves out a tensor .* without a word"):
        contract().test_a_tensor_of_nobody_is_an_error(tmp_path)


@pytest.mark.parametrize("contract", [TestWritten, TestRead])
def test_one_that_leaves_out_heads_passes(plant, tmp_path, contract):
    plant(evolve(RNAFM, ignored=(r"^(contact_head|cls\.seq_relationship)\.", r"_id$")), "rnafm")
    contract().test_a_tensor_of_nobody_is_an_error(tmp_path)
