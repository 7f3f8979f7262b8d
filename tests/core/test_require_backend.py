"""`--require-backend`: where a backend is promised, its tests cannot be skipped."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
TESTS = """
import pytest

@pytest.mark.backend("paddle")
def test_marked():
    pass

@pytest.mark.backend("numpy")
def test_skips_itself():
    pytest.skip("too tired")

@pytest.mark.backend("numpy")
@pytest.mark.xfail(reason="known")
def test_expected_to_fail():
    assert False

@pytest.mark.backend("numpy", "paddle")
def test_of_two():
    pass

def test_each(backend):
    assert backend
"""


@pytest.fixture
def run(tmp_path):
    """Run pytest where Paddle is not installed; return its exit code and what it says."""
    shutil.copy(CONFTEST, tmp_path / "conftest.py")
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "blocked.py").write_text("import sys\nsys.modules['paddle'] = None\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = backend(name): needs it\n")

    def start(*options: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "pytest", "-p", "blocked", "-rA", *options, "test_it.py"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return start


def test_without_it_a_backend_that_is_not_installed_is_skipped(run):
    code, said = run("-k", "not torch")
    assert code == 0
    assert "the backend paddle needs paddle" in said
    assert "PASSED test_it.py::test_each[numpy]" in said
    assert "SKIPPED" in said


def test_a_required_backend_that_is_not_installed_stops_the_session(run):
    code, said = run("--require-backend=numpy,paddle")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "--require-backend=paddle" in said
    assert "pip install" in said
    assert "passed" not in said


def test_a_required_backend_that_nobody_announces_stops_the_session(run):
    code, said = run("--require-backend=nunpy")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "Did you mean 'numpy'?" in said


def test_a_skip_of_a_required_backend_is_a_failure(run):
    code, said = run("--require-backend=numpy", "-k", "not torch")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "FAILED test_it.py::test_skips_itself" in said
    assert "too tired" in said
    assert "1 failed" in said
    assert "1 xfailed" in said
    assert "3 skipped" in said  # Paddle's, which nobody promised
