"""No test of a contract is skipped in silence, in an author's own run of pytest."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HEAD = """
import pytest
from riboswitch.testing import LayoutContract, ModelContract, overrides
"""
FILE = f"""{HEAD}
class Nano(ModelContract):
    model = "rinalmo-nano"

class TestPlain(Nano):
    pass

@pytest.mark.skip
class TestSkipped(Nano):
    pass

@pytest.mark.skip(reason="no such device here")
class TestSkippedWithReason(Nano):
    pass

@pytest.mark.skipif("True")
class TestConditional(Nano):
    pass

@pytest.mark.skipif(True, reason="no such device here")
class TestConditionalWithReason(Nano):
    pass

@pytest.mark.xfail
class TestExcused(Nano):
    pass

class TestSkipsItself(Nano):
    @overrides("to be seen")
    def test_it_is_registered(self):
        pytest.skip("no time")

class TestExcusesItself(Nano):
    @overrides("to be seen")
    def test_it_is_registered(self):
        pytest.xfail("known")

class TestFixture(Nano):
    @pytest.fixture(autouse=True)
    def _early(self):
        pytest.skip()

class TestFixtureWithReason(Nano):
    @pytest.fixture(autouse=True)
    def _early(self):
        pytest.skip("no such device here")

class TestFacts(Nano):
    exempt = {{"test_it_is_registered": "made to fail"}}

    @overrides("to see an exempted failure")
    def test_it_is_registered(self):
        raise AssertionError

class TestOther(LayoutContract):
    layout = "rnafm"
    exempt = {{"test_weights_come_back_bit_for_bit[no-such]": "a slip"}}

class TestNoParameters(Nano):
    exempt = {{"test_it_is_registered[no-such]": "a slip"}}

class TestOwn(Nano):
    @pytest.mark.skip
    def test_it_is_registered_by_me(self):
        pass

    def test_it_is_registered_by_somebody(self):
        pytest.skip("of my own")
"""
FAILED = {
    "Skipped": "skipped without a reason",
    "Conditional": "skipped without a reason",
    "Excused": "named in `exempt`, not marked",
    "SkipsItself": r"does not skip itself \(no time\)",
    "ExcusesItself": "named in `exempt`, not marked",
    "Fixture": "skipped without a reason",
    "Other": r"exempt names 'test_weights_come_back_bit_for_bit\[no-such\]'; its parameters are: "
    r"\[bfloat16\], \[float32\]",
    "NoParameters": r"\[no-such\]'; its parameters are: none",
}
NOT_FAILED = {
    "Plain": "PASSED",
    "SkippedWithReason": "SKIPPED",
    "ConditionalWithReason": "SKIPPED",
    "FixtureWithReason": "SKIPPED",
    "Facts": "XFAIL",
}


def run(folder: Path, source: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_mine.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> str:
    names = "it_is_registered or bit_for_bit"
    return run(tmp_path_factory.mktemp("author"), FILE, "-k", names).stdout


@pytest.mark.parametrize("name", FAILED)
def test_what_is_dropped_in_silence_fails(done, name):
    assert re.search(rf"Test{name}::test_\w+(\[\w+\])? (FAILED|ERROR)", done), done
    _, _, said = done.partition(f" Test{name}.test_")
    assert re.search(FAILED[name], said.partition("\n____")[0]), said


@pytest.mark.parametrize("name", NOT_FAILED)
def test_what_has_a_reason_is_as_it_was(done, name):
    assert re.search(rf"Test{name}::test_it_is_registered {NOT_FAILED[name]}", done), done


def test_tests_of_ones_own_are_ones_own(done):
    assert done.count("TestOwn::test_it_is_registered PASSED") == 1
    assert done.count("SKIPPED") == 5


@pytest.mark.parametrize(
    ("mark", "failed"), [("skip", 1), ("xfail", 1), ('skip(reason="no device")', 0)]
)
def test_a_mark_of_the_whole_module(tmp_path, mark, failed):
    source = f"{HEAD}\npytestmark = pytest.mark.{mark}\n\nclass TestMine(ModelContract):\n"
    done = run(tmp_path, f'{source}    model = "rinalmo-nano"\n', "-k", "it_is_registered")
    assert done.returncode == failed, done.stdout


def test_a_contract_that_is_changed_later_is_an_error(tmp_path):
    source = f"{HEAD}\nclass TestMine(ModelContract):\n    model = 'rinalmo-nano'\n\n"
    done = run(tmp_path, f"{source}TestMine.test_it_is_registered = None\n")
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "replaces a part of the contract without a reason" in done.stdout


def test_one_parameter_may_be_asked_for(tmp_path):
    source = f"""{HEAD}
class TestMine(LayoutContract):
    layout = "rnafm"
    exempt = {{"test_weights_come_back_bit_for_bit[bfloat16]": "the other parameter"}}
"""
    test = "test_mine.py::TestMine::test_weights_come_back_bit_for_bit[float32]"
    done = run(tmp_path, source, test)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


CHANGED = f"""{HEAD}
class Nano(ModelContract):
    model = "rinalmo-nano"

class TestSetup(Nano):
    def setup_method(self):
        self.small = lambda *a: None

class TestFixture(Nano):
    @pytest.fixture(autouse=True)
    def _quiet(self):
        self.test_it_is_registered = lambda: None

class TestLater(Nano):
    @pytest.fixture(autouse=True)
    def _quiet(self, monkeypatch):
        monkeypatch.setattr(type(self), "texts", lambda self: [])

class TestExempt(Nano):
    @pytest.fixture(autouse=True)
    def _quiet(self):
        self.exempt = {{"test_it_is_registered": ""}}

class TestLax(BackendContract):
    backend = "numpy"

    def setup_method(self):
        self.half_tolerance = {{"float16": float("inf")}}

class TestMisspelled(BackendContract):
    backend = "nunpy"

class TestMissing(BackendContract):
    pass

class TestNoModel(ModelContract):
    model = "rinalmo-nono"
    exempt = {{"test_it_is_registered": "it would be an expected failure"}}

class TestNoLayout(LayoutContract):
    layout = "rinalm"

class TestOwnFacts(Nano):
    def setup_method(self):
        self.folder, self.sizes = "x", {{**self.sizes, "num_layers": 1}}
"""
SAID = {
    "Setup": r"TestSetup sets self\.small, which replaces a part of the contract",
    "Fixture": r"sets self\.test_it_is_registered, which replaces a part",
    "Later": r"TestLater\.texts replaces a part of the contract without a reason",
    "Exempt": "exempts 'test_it_is_registered' without a reason",
    "Lax": "half_tolerance allows inf in float16 without a reason",
    "Misspelled": r"There is no backend 'nunpy'\.\n(.*\n)*Did you mean 'numpy'\?",
    "Missing": r"TestMissing does not state 'backend', which says what is tested\.",
    "NoModel": r"There is no model 'rinalmo-nono'\.\n(.*\n)*Did you mean 'rinalmo-nano'\?",
    "NoLayout": r"There is no layout 'rinalm'\.\n(.*\n)*Did you mean 'rinalmo'\?",
}


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> str:
    names = "it_is_registered or TestMi or (TestLax and outputs_fit)"
    source = CHANGED.replace("import Layout", "import BackendContract, Layout")
    return run(tmp_path_factory.mktemp("author"), source, "-k", names, "-rs").stdout


@pytest.mark.parametrize("name", SAID)
def test_what_is_wrong_is_said_once(changed, name):
    assert len(re.findall(rf"Test{name}::\S+ FAILED", changed)) == 1, changed
    assert not re.search(rf"Test{name}::\S+ (PASSED|XFAIL|XPASS|ERROR)", changed), changed
    _, _, said = changed.partition(f"_ Test{name}.test_")
    assert re.search(SAID[name], said.partition("\n____")[0]), said


def test_the_other_tests_of_a_class_are_left_out(changed):
    left = re.findall(r"TestMisspelled::\S+ SKIPPED", changed)
    assert len(left) > 60
    assert re.search(r"SKIPPED .*::TestMisspelled::test_\S+ says what is wrong", changed)


def test_a_test_may_have_facts_of_its_own(changed):
    assert "TestOwnFacts::test_it_is_registered PASSED" in changed


def test_one_that_is_run_again_fails_again(tmp_path):
    source = f"{HEAD}\nclass TestMine(ModelContract):\n    model = 'nowhere'\n"
    test = "test_mine.py::TestMine::test_it_is_registered"
    done = run(tmp_path, source, "--keep-duplicates", test, test)
    assert re.search("2 failed|1 failed", done.stdout), done.stdout
    assert "skipped" not in done.stdout
