"""The first hours, word for word: the files of a page are written and its commands run.

Each installs a package, so it runs where `nox -s examples` asks for it, in an environment of its
own that sees everything in this one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from attrs import frozen

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"


@frozen
class Hour:
    """A page, the Python files that a reader types, and what the commands must say."""

    page: str
    files: tuple[str, ...]
    said: tuple[str, ...]

    @property
    def text(self) -> str:
        return (DOCS / self.page).read_text("utf-8")

    @property
    def steps(self) -> list[tuple[str, str, str]]:
        return [(m["verb"], m["what"] or "", m["text"]) for m in STEP.finditer(self.text)]


HOURS = (
    Hour(
        "write-a-backend.md",
        ("riboswitch_mirror.py", "test_contract.py"),
        (
            r"^mirror +rinalmo-giga.* works ",
            r"^\d{2} passed",
        ),
    ),
    Hour(
        "add-a-model.md",
        ("riboswitch_tiny.py", "train.py", "test_contract.py", "compare.py", "where.py"),
        (
            r"^tiny +riboswitch-tiny .* riboswitch_layouts, riboswitch_models +loaded",
            r"^tiny +20681 +32 +2 +64 +- +Apache-2.0",
            r"^\('layers.1.feed_forward.up.weight', \(64, 32\)\)",
            r"2 of 2 records, 30 residues by tiny on \w+ into trained.npz",
            r"^[ACGU]\t0\.\d+\tGGGAAA[ACGU]CCC",
            r"^tiny-own \(riboswitch\) -> again.safetensors \(tiny\)",
            r"^difference +representation 0, logits 0",
            r"^\d{2} passed",
            r"^tiny: \d{2} passed, 0 failed, 0 skipped",
            r"^float64 GGGAAA<mask>CCC \(12, 32\) \(12, 9\)",
            r"^tiny https://example.org/tiny",
        ),
    ),
)
each_hour = pytest.mark.parametrize("hour", HOURS, ids=lambda hour: hour.page)
STEP = re.compile(
    r"^<!-- (?P<verb>file|try|said)(?:: (?P<what>\S+))? -->\n```\w+\n(?P<text>.*?)^```$",
    re.M | re.S,
)
asked_for = pytest.mark.skipif(
    "RIBOSWITCH_EXAMPLES" not in os.environ, reason="it installs a package: nox -s examples"
)


def environment(folder: Path) -> dict[str, str]:
    """A fresh environment that has what this one has, and takes new packages."""
    venv.create(folder, with_pip=True)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    (site,) = folder.glob("**/site-packages")
    outer = sysconfig.get_path("purelib")
    (site / "outer.pth").write_text(f"import site; site.addsitedir({outer!r})\n", "utf-8")
    command = scripts / "riboswitch"
    command.write_text('#!/bin/sh\nexec python -m riboswitch "$@"\n', "utf-8")
    command.chmod(0o755)
    path = os.pathsep.join([str(scripts), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "VIRTUAL_ENV": str(folder)}


@each_hour
def test_every_file_and_command_of_the_page_is_tried(hour):
    blocks = re.findall(r"^```(?:toml|python|console)$", hour.text, re.M)
    tried = [v for v, what, _ in hour.steps if v != "said" and not what.endswith(".fasta")]
    assert len(tried) == len(blocks) >= 6
    assert hour.text.count("<!-- ") == len(hour.steps)


@each_hour
def test_the_plugin_is_one_file(hour):
    files = [what for verb, what, _ in hour.steps if verb == "file" and what.endswith(".py")]
    assert (*files,) == hour.files


@asked_for
@each_hour
def test_the_first_hour(hour, tmp_path):
    outer = environment(tmp_path / "environment")
    folder = tmp_path / "package"
    folder.mkdir()
    said = ""
    for verb, what, text in hour.steps:
        if verb == "file":
            (folder / what).write_text(text, "utf-8")
            continue
        if verb == "said":  # the first line; what follows it depends on what is installed
            assert text.splitlines()[0] in said.splitlines(), said
            continue
        done = subprocess.run(
            ["sh", "-ec", text], cwd=folder, env=outer, capture_output=True, text=True, timeout=120
        )
        said += done.stdout + done.stderr
        assert done.returncode == int(what or 0), f"{text}\n{done.stdout}\n{done.stderr}"
    for pattern in hour.said:
        assert re.search(pattern, said, re.M), f"{pattern}\n{said}"
    assert not re.search(r"[1-9]\d* skipped|PluginWarning", said)
    mypy = [sys.executable, "-m", "mypy", "--strict", hour.files[0]]
    typed = subprocess.run(mypy, cwd=folder, capture_output=True, text=True, timeout=300)
    assert typed.returncode == 0, f"{typed.stdout}\n{typed.stderr}"
