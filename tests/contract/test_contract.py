"""A contract cannot be dropped quietly: facts are stated, the rest is replaced with a reason."""

from __future__ import annotations

import subprocess
import sys

import pytest

from riboswitch.testing import BackendContract, Contract, LayoutContract, overrides

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


def test_only_half_precision_may_stray_further():
    contract = made(half_tolerance={"float32": 1.0})()
    with pytest.raises(TypeError, match="float32"):
        contract.test_devices_and_dtypes_are_declared()


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
