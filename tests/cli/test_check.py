"""`riboswitch plugins --check NAME`: a contract from the command line."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.beyond_the_core

PLUGIN = """
from attrs import evolve
from riboswitch import impl
from riboswitch_models import rnaernie

@impl
def riboswitch_models():
    entry = rnaernie.MODELS[0]
    return [evolve(entry, name="good"), evolve(entry, name="poor", licence=" ", source="a\\nb")]
"""
BROKEN = "raise OSError('no such library')"
OPENS = "from riboswitch import impl\n\n@impl\ndef riboswitch_open_checkpoint(path):\n    pass\n"
GREEDY = OPENS.replace("pass", "return path.read_bytes() and 1 / 0")
WRITES = OPENS.replace("open_checkpoint(path)", "write_checkpoint(path, draft)")
READS = """
from riboswitch import impl
from riboswitch.interfaces import Layout

@impl
def riboswitch_layouts():
    return [Layout(name="seen", plain=str, describe=lambda c: None, rules=lambda a, c: [])]
"""
PACKS = """
from attrs import evolve
from riboswitch import impl
from riboswitch.interfaces import Form, Layout
from stranger_crate import Crate

@impl
def riboswitch_layouts():
    return [Layout(name="packed", plain=str, describe=lambda c: None, rules=lambda a, c: [],
                   form=lambda entry: Form(container="crate"))]

@impl
def riboswitch_open_checkpoint(path):
    return Crate().open(path)

@impl
def riboswitch_write_checkpoint(path, draft):
    return Crate().write(path, draft)
"""
SOURCES = {
    "strange": PLUGIN,
    "broken": BROKEN,
    "opens": OPENS,
    "greedy": GREEDY,
    "writes": WRITES,
    "reads": READS,
    "packs": PACKS,
}
CRATE = Path(__file__).parent.parent / "contract" / "crate.py"
ALONE = {"RIBOSWITCH_DISABLE_PLUGINS": "torch,paddle,paddlenlp"}


@pytest.fixture
def stranger(cli):
    """Install plugins of somebody else's; return the environment that has them."""
    folder = cli.folder / "site"
    info = folder / "stranger-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    points = [f"{name} = stranger_{name}" for name in SOURCES]
    (info / "entry_points.txt").write_text("\n".join(["[riboswitch]", *points]))
    shutil.copy(CRATE, folder / "stranger_crate.py")
    for name, source in SOURCES.items():
        (folder / f"stranger_{name}.py").write_text(source)
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def test_a_layout_that_keeps_its_contract(cli):
    # A model and a layout have this name. NumPy alone: another framework takes seconds to start.
    done = cli("plugins", "--check", "rnafm", env=ALONE)
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


@pytest.mark.parametrize(
    ("name", "note", "tested"),
    [
        ("seen", "note  layout_seen: it is only read, so no file", "writing_it_is_a_clear_error"),
        ("reads", "note  layout_seen: it is only read, so no file", "it_is_registered"),
        ("opens", "note  opener_opens: no layout names a container", "no_pickle_is_run"),
        ("crate", "for what it does hold, float64, float32, float16, bfloat16, int64, and seal",
         "a_file_that_is_replaced_or_deleted[replaced]"),
    ],
)  # fmt: skip
def test_what_could_not_be_tested_is_said(cli, stranger, name, note, tested):
    done = cli("plugins", "--check", name, env={**stranger, **ALONE})
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert note in lines[-2]
    assert ": subclass " in lines[-2]
    assert any(line.endswith(f": {tested}") for line in lines)
    assert lines[-1] == f"{name}: {len(lines) - 2} passed, 0 failed, 0 skipped"


def test_an_opener_that_harms_others_is_found_without_a_file_of_its_own(cli, stranger):
    done = cli("plugins", "--check", "greedy", env={**stranger, **ALONE})
    assert done.returncode == 4, done.stdout + done.stderr
    assert "FAIL  opener_greedy: a_foreign_file_is_left_to_others[text]" in done.stdout
    assert "ZeroDivisionError" in done.stdout


FOREIGN = {
    "RIBOSWITCH_CHECK": "not JSON",
    "PYTEST_ADDOPTS": "-k nothing",
    "PYTEST_PLUGINS": "nobody",
}


def test_configuration_of_where_one_stands_does_not_matter(cli):
    cli.write("conftest.py", "raise SystemExit('the conftest of a bystander')")
    cli.write("pytest.ini", "[pytest]\naddopts = --no-such-option")
    done = cli("plugins", "--check", "rinalmo-plain", env=FOREIGN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass  layout_rinalmo-plain: a_file_cut_short_is_one_error" in done.stdout


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("nunpy", 2, "or container 'nunpy'.\nDid you mean 'numpy'?"),
        ("", 2, "There are: adapters, "),
        ("writes", 2, "brings nothing that can be checked"),
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
