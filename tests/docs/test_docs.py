"""The documentation: its marked examples run, its links lead somewhere, its options exist."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from riboswitch.cli import _parser

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROSE = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("tests/data/*.md")})
MARK = "<!-- run -->\n"
BLOCK = re.compile(rf"^(?P<mark>{MARK})?```(?P<kind>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
RUNNER = """
import ast, subprocess, sys
from pathlib import Path
names = {"__name__": "__main__"}
for kind, number, code in ast.literal_eval(Path("blocks.txt").read_text("utf-8")):
    print(f"--- line {number} ---", flush=True)
    if kind == "python":
        exec(compile("\\n" * number + code, "page", "exec"), names)
    elif status := subprocess.run(["sh", "-ec", code], check=False).returncode:
        sys.exit(f"exit code {status} of:\\n{code}")
"""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def marked_blocks(page: Path) -> list[tuple[str, int, str]]:
    """What is to be run: kind, line and code of each marked block, in order."""
    text = page.read_text("utf-8")
    whole = page.name == "README.md"  # its examples run unmarked, but those that install
    found = [("console", 0, first_command(text))] if whole else []
    for match in BLOCK.finditer(text):
        kind, number = match["kind"], text.count("\n", 0, match.start("code"))
        if match["mark"] or (whole and kind == "python"):
            found.append((kind, number, match["code"]))
    return found


def first_command(text: str) -> str:
    match = re.search(r"^pip install \. && (riboswitch embed .+)$", text, re.M)
    assert match, "the README has no first command"
    return match[1]


def commands(text: str) -> Iterator[str]:
    """Each call of riboswitch in a console block or between backticks."""
    consoles = [m["code"] for m in BLOCK.finditer(text) if m["kind"] == "console"]
    spans = re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
    for line in [*"\n".join(consoles).splitlines(), *spans]:
        for part in re.split(r"&&|\|\||[|;>]", re.sub(r"'[^']*'", "''", line)):
            if part.strip().startswith("riboswitch "):
                yield part.strip()


def subparsers() -> dict[str, argparse.ArgumentParser]:
    action = next(a for a in _parser()._actions if isinstance(a.choices, dict))
    return dict(action.choices)


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings}


@pytest.mark.parametrize("page", [p for p in PAGES if marked_blocks(p)], ids=relative)
def test_marked_examples_run(page, tmp_path):
    shutil.copytree(ROOT / "docs" / "examples", tmp_path / "docs" / "examples")
    (tmp_path / "blocks.txt").write_text(repr(marked_blocks(page)), "utf-8")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    # `auto` is NumPy here: an example must not need more than the base install. One core is
    # enough for it, and faster than two that other work keeps busy.
    base = {"RIBOSWITCH_DISABLE_PLUGINS": "torch,paddle", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", RUNNER],
        cwd=tmp_path,
        env={**os.environ, **base, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def test_every_kind_of_block_that_is_marked_can_be_run():
    for page in PAGES:
        text = page.read_text("utf-8")
        kinds = [m["kind"] for m in BLOCK.finditer(text) if m["mark"]]
        assert set(kinds) <= {"console", "python"}, relative(page)
        assert text.count(MARK) == len(kinds), f"{relative(page)}: a mark without a block"


@pytest.mark.parametrize("page", PROSE, ids=relative)
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), f"{relative(page)} links to {target}"
        assert not anchor or anchor in anchors(path), f"{relative(page)} links to {target}"


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text("utf-8")), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PROSE, ids=relative)
def test_commands_and_options_exist(page):
    text, parsers = page.read_text("utf-8"), subparsers()
    for command in commands(text):
        name = command.split()[1]
        known = options_of(parsers[name]) if name in parsers else options_of(_parser())
        assert name in parsers or name in known, command
        for option in re.findall(r"(?<!\S)-{1,2}[a-z][a-z-]*", command):
            assert option in known, f"{relative(page)}: {command}"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_options_named_alone_exist(page):
    known = {option for parser in subparsers().values() for option in options_of(parser)}
    known |= options_of(_parser())
    prose = BLOCK.sub("", page.read_text("utf-8"))
    for option in re.findall(r"`(-{1,2}[a-z][a-z-]*)[^`\n]*`", prose):
        assert option in known, f"{relative(page)} names {option}"


def test_every_dependency_is_justified():
    project = tables().PYPROJECT["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    names = {Requirement(line).name for line in lines} - {"riboswitch"}
    assert len(names) >= 10
    table = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    reasons = dict(re.findall(r"^\| `([\w-]+)` \|.*?([^|]{20,})\|$", table, re.M))
    assert names <= reasons.keys(), f"without a reason: {sorted(names - reasons.keys())}"


def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_what_the_code_declares():
    made = tables()
    found = {
        name for page in made.pages() for _, name, _ in made.BLOCK.findall(page.read_text("utf-8"))
    }
    assert found == made.MAKERS.keys()
    for page in made.pages():
        assert made.made(page) == page.read_text("utf-8"), "run: python docs/tables.py --write"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    for page in PROSE:
        if page.parent in (ROOT / "docs", ROOT / "docs" / "decisions") and page.name != "index.md":
            assert f"]({page.relative_to(ROOT / 'docs').as_posix()})" in index, relative(page)


def test_every_module_of_the_reference_has_a_page():
    folder = ROOT / "docs" / "reference"
    listed = re.findall(r"^   (\w+)$", (folder / "index.rst").read_text("utf-8"), re.M)
    assert sorted(listed) == sorted(p.stem for p in folder.glob("*.rst") if p.stem != "index")
