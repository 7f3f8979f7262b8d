"""A contract cannot be dropped quietly: facts are stated, the rest is replaced with a reason."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from riboswitch.errors import BackendError
from riboswitch.testing import (
    BackendContract,
    Contract,
    LayoutContract,
    LearnerContract,
    overrides,
)

TEST = "test_a_call_repeats_itself_bit_for_bit"
FILE = f"""
from riboswitch.testing import BackendContract, overrides

class TestMine(BackendContract):
    backend = "numpy"
    exempt = {{
        "{TEST}": "it does, so this exemption is one too many",
        "test_a_dtype_is_declared_or_an_error[int8]": "the same, for one parameter",
        "test_refusals_are_clauses": "made to fail below",
    }}

    @overrides("to see an exempted failure")
    def test_refusals_are_clauses(self):
        assert not self.backend
"""


def made(base: type[Contract] = BackendContract, **names: object) -> type[Contract]:
    return type("TestMine", (base,), {"backend": "numpy", **names})


@pytest.mark.parametrize("value", [None, lambda self: None, 7])
def test_replacing_a_test_without_a_reason_is_an_error(value):
    with pytest.raises(TypeError, match=rf"(?s)TestMine\.{TEST} replaces.*@overrides"):
        made(**{TEST: value})


def test_a_mixin_cannot_replace_one_either():
    cheat = type("Cheat", (), {TEST: lambda self: None})
    with pytest.raises(TypeError, match=rf"Cheat\.{TEST} replaces a part"):
        type("TestMine", (cheat, BackendContract), {"backend": "numpy"})


@pytest.mark.parametrize("mark", ["skip", "xfail"])
def test_a_replacement_that_does_not_run_is_an_error(mark):
    @overrides("it is slow")
    def dropped(self):
        raise AssertionError

    reason = {} if mark == "skip" else {"reason": "it is slow"}
    dropped = getattr(pytest.mark, mark)(**reason)(dropped)
    with pytest.raises(TypeError, match="by one that does not run"):
        made(**{TEST: dropped})


@pytest.mark.parametrize("name", ["__init__", "__new__"])
def test_what_pytest_would_not_collect_is_an_error(name):
    with pytest.raises(TypeError, match=f"has {name}, so pytest would collect none"):
        made(**{name: lambda self: None})
    with pytest.raises(TypeError, match="collect none of its tests"):
        type("TestMine", (type("Cheat", (), {name: lambda self: None}), BackendContract), {})


@pytest.mark.parametrize("helper", ["build", "near", "_exempted", "dtypes"])
def test_helpers_of_the_contract_are_part_of_it(helper):
    with pytest.raises(TypeError, match=rf"{helper} replaces a part"):
        made(**{helper: lambda self: None})


def test_with_a_reason_a_test_is_replaced():
    kind = made(**{TEST: overrides("it is random by design")(lambda self: "mine")})
    assert getattr(kind(), TEST)() == "mine"
    assert issubclass(type("TestMore", (kind,), {"backend": "torch"}), BackendContract)


@pytest.mark.parametrize("reason", ["", "  ", None, lambda self: None])
def test_a_reason_has_words(reason):
    with pytest.raises(TypeError, match="Give a reason"):
        overrides(reason)
    with pytest.raises(TypeError, match="without a reason"):
        made(exempt={TEST: reason})


def test_only_tests_that_exist_can_be_exempt():
    with pytest.raises(TypeError, match=rf"no test of it: \['{TEST}'\]"):
        made(exempt={TEST.replace("bit", "bot", 1): "a slip"})
    made(exempt={f"{TEST}[float32]": "one parameter"})


def test_a_misspelled_fact_is_an_error():
    with pytest.raises(TypeError, match="states 'half_tolerances'; did you mean 'half_tolerance'"):
        made(half_tolerances={"bfloat16": 0.1})
    with pytest.raises(TypeError, match="states 'model'; did you mean 'models'"):
        made(LayoutContract, model="rnafm")


def test_an_author_may_add_tests_and_facts_of_their_own():
    assert made(test_more=lambda self: None, folder="x", helper=lambda self: None)


FURTHER = "its tables have 8 bits"


@pytest.mark.parametrize(
    ("strays", "problem"),
    [
        ({"float32": (0.1, FURTHER)}, "for half precision, not for float32"),
        ({"float16": 0.02}, r"0\.02 in float16 without a reason"),
        ({"float16": (0.02, " ")}, "without a reason"),
        ({"bfloat16": (float("inf"), FURTHER)}, r"allows inf in bfloat16; 0\.25 is the most"),
        ({"bfloat16": (float("nan"), FURTHER)}, r"0\.25 is the most"),
        ({"bfloat16": (0.26, FURTHER)}, r"0\.25 is the most"),
        ({"bfloat16": (0.0, FURTHER)}, r"0\.25 is the most"),
    ],
)
def test_half_precision_strays_so_far_and_with_a_reason(strays, problem):
    with pytest.raises(TypeError, match=problem):
        made(half_tolerance=strays)
    with pytest.raises(TypeError, match=problem):
        made(LearnerContract, half_tolerance=strays)


def test_half_precision_may_stray_further():
    contract = made(half_tolerance={"bfloat16": (0.25, FURTHER)})()
    one, other = ({"logits": [np.full(9, x)]} for x in (1.0, 1.2))
    contract.near(other, one, "bfloat16", "within")
    with pytest.raises(AssertionError, match=r"in float16 is 0\.2 off, more than 0\.01"):
        contract.near(other, one, "float16", "the table's")


@pytest.mark.parametrize("said", [{"float16": ""}, {"float16": None}, {"int8": "no reason"}])
def test_a_dtype_that_is_another_has_a_reason(said):
    with pytest.raises(TypeError, match="same_bits has a dtype and its reason"):
        made(same_bits=said)


def test_an_unknown_backend_is_named_with_the_nearest():
    with pytest.raises(BackendError, match=r"no backend 'nunpy'\.\n(.*\n)*Did you mean 'numpy'"):
        _ = made(backend="nunpy")().entry


def test_exempted_tests_run_and_must_fail(tmp_path):
    (tmp_path / "test_mine.py").write_text(FILE)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rfxp",
        "-p",
        "no:cacheprovider",
        "test_mine.py",
    ]
    names = "repeats_itself or clauses or int8 or unknown_device"
    done = subprocess.run([*command, "-k", names], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "XFAIL test_mine.py::TestMine::test_refusals_are_clauses - made to fail" in done.stdout
    assert f"FAILED test_mine.py::TestMine::{TEST}" in done.stdout
    assert "one too many" in done.stdout
    assert "2 failed, 1 passed" in done.stdout
    assert "1 xfailed" in done.stdout
