"""`riboswitch plugins --check NAME`: a contract from the command line."""

from __future__ import annotations

import os

import pytest

PLUGIN = """
from attrs import evolve
from riboswitch import impl
from riboswitch_models import rnaernie

@impl
def riboswitch_models():
    entry = rnaernie.MODELS[0]
    return [evolve(entry, name="good"), evolve(entry, name="poor", licence=" ", family="a\\nb")]
"""
BROKEN = "raise OSError('no such library')"
NOTHING = "from riboswitch import impl\n\n@impl\ndef riboswitch_open_checkpoint(path):\n    pass\n"


@pytest.fixture
def stranger(cli):
    """Install plugins of somebody else's; return the environment that has them."""
    folder = cli.folder / "site"
    info = folder / "stranger-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    sources = {"strange": PLUGIN, "broken": BROKEN, "silent": NOTHING}
    points = [f"{name} = stranger_{name}" for name in sources]
    (info / "entry_points.txt").write_text("\n".join(["[riboswitch]", *points]))
    for name, source in sources.items():
        (folder / f"stranger_{name}.py").write_text(source)
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def test_a_layout_that_keeps_its_contract(cli):
    # A model and a layout have this name. NumPy alone: another framework takes seconds to start.
    alone = {"RIBOSWITCH_DISABLE_PLUGINS": "torch,paddle,paddlenlp"}
    done = cli("plugins", "--check", "rnafm", env=alone)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "pass  model_rnafm: text_comes_back" in lines
    assert "pass  layout_rnafm: weights_come_back_bit_for_bit[bfloat16]" in lines
    assert lines[-1] == f"rnafm: {len(lines) - 1} passed, 0 failed, 0 skipped"
    assert done.stderr == ""
    assert list(cli.folder.iterdir()) == []


def test_a_plugin_that_breaks_it_says_where(cli, stranger):
    done = cli("plugins", "--check", "strange", env=stranger)
    assert done.returncode == 4, done.stdout + done.stderr
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert failed == ["FAIL  model_poor: it_is_registered"]
    assert "pass  model_good: it_is_registered" in done.stdout
    assert "\n      AssertionError" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("1 failed, 0 skipped")


def test_configuration_of_where_one_stands_does_not_matter(cli):
    cli.write("conftest.py", "raise SystemExit('the conftest of a bystander')")
    cli.write("pytest.ini", "[pytest]\naddopts = --no-such-option")
    done = cli("plugins", "--check", "rinalmo-plain", env={"RIBOSWITCH_CHECK": "not JSON"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass  layout_rinalmo-plain: a_file_cut_short_is_one_error" in done.stdout


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("nunpy", 2, "no plugin, backend, model or layout 'nunpy'.\nDid you mean 'numpy'?"),
        ("", 2, "There are: adapters, "),
        ("silent", 2, "announces no backend, model or layout to check"),
        ("broken", 4, "is left out: OSError: no such library"),
    ],
)
def test_what_cannot_be_checked_is_said(cli, stranger, name, code, message):
    done = cli("plugins", "--check", name, env=stranger)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr


def test_a_disabled_plugin_is_not_checked(cli):
    done = cli("plugins", "--check", "models", env={"RIBOSWITCH_DISABLE_PLUGINS": "models"})
    assert done.returncode == 2
    assert "'models' is left out: disabled" in done.stderr


def test_a_backend_that_is_not_installed_names_the_cure(cli):
    cli.write("sitecustomize.py", "import sys\nsys.modules['torch'] = None\n")
    done = cli("plugins", "--check", "torch", env={"PYTHONPATH": str(cli.folder)})
    assert done.returncode == 2
    assert 'pip install "riboswitch[torch]"' in done.stderr


def test_without_pytest_the_cure_is_named(cli):
    cli.write("sitecustomize.py", "import sys\nsys.modules['pytest'] = None\n")
    done = cli("plugins", "--check", "numpy", env={"PYTHONPATH": str(cli.folder)})
    assert (done.returncode, done.stdout) == (2, "")
    assert 'pip install "riboswitch[testing]"' in done.stderr


def test_the_module_says_so_too(cli):
    cli.write("sitecustomize.py", "import sys\nsys.modules['pytest'] = None\n")
    import subprocess
    import sys

    command = [sys.executable, "-c", "import riboswitch.testing"]
    environment = {**os.environ, "PYTHONPATH": str(cli.folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert 'Install it: pip install "riboswitch[testing]"' in done.stderr
