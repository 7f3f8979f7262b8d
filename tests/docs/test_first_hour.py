"""`docs/write-a-backend.md`, word for word: its files are written and its commands run.

It installs a package, so it runs where `nox -s examples` asks for it, in an environment of its
own that sees everything in this one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "write-a-backend.md"
STEP = re.compile(
    r"^<!-- (?P<verb>file|try)(?:: (?P<what>\S+))? -->\n```\w+\n(?P<text>.*?)^```$", re.M | re.S
)
asked_for = pytest.mark.skipif(
    "RIBOSWITCH_EXAMPLES" not in os.environ, reason="it installs a package: nox -s examples"
)


def steps() -> list[tuple[str, str, str]]:
    return [(m["verb"], m["what"] or "", m["text"]) for m in STEP.finditer(PAGE.read_text("utf-8"))]


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


def test_every_file_and_command_of_the_page_is_tried():
    text = PAGE.read_text("utf-8")
    blocks = re.findall(r"^```(?:toml|python|console)$", text, re.M)
    tried = [verb for verb, what, _ in steps() if not what.endswith(".fasta")]
    assert len(tried) == len(blocks) >= 6
    assert text.count("<!-- ") == len(steps())


def test_the_plugin_is_one_file():
    files = [what for verb, what, _ in steps() if verb == "file"]
    assert [f for f in files if f.endswith(".py")] == ["riboswitch_mirror.py", "test_contract.py"]


@asked_for
def test_the_first_hour(tmp_path):
    outer = environment(tmp_path / "environment")
    folder = tmp_path / "package"
    folder.mkdir()
    said = ""
    for verb, what, text in steps():
        if verb == "file":
            (folder / what).write_text(text, "utf-8")
            continue
        done = subprocess.run(
            ["sh", "-ec", text], cwd=folder, env=outer, capture_output=True, text=True, timeout=120
        )
        said += done.stdout + done.stderr
        assert done.returncode == int(what or 0), f"{text}\n{done.stdout}\n{done.stderr}"
    assert re.search(r"^mirror +rinalmo-giga.* works ", said, re.M)
    assert "cannot compute this model: it knows RiNALMo's encoder alone" in said
    assert re.search(r"\d{2} passed", said)
    assert not re.search(r"skipped|PluginWarning", said)
