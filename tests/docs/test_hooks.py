"""`docs/hooks.md`: it names every hook as it is, and its examples work as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from riboswitch import hookspecs

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text("utf-8")
HOOKS = [name for name in vars(hookspecs) if name.startswith("riboswitch_")]
PLUGIN = re.compile(r"^<!-- plugin: (\w+) -->\n```python\n(.*?)^```$", re.M | re.S)
USE = re.compile(r"^<!-- use -->\n```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.M | re.S)
CONTRACT = re.compile(r"^<!-- contract -->\n```python\n(.*?)^```$", re.M | re.S)


def install(folder: Path, modules: dict[str, str]) -> None:
    """What pip leaves behind: modules, and a distribution that announces them."""
    info = folder / "strangers-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    points = "".join(f"{name.removeprefix('riboswitch_')} = {name}\n" for name in modules)
    (info / "entry_points.txt").write_text(f"[riboswitch]\n{points}")
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text, "utf-8")


def run(site: Path, folder: Path, *arguments: str) -> str:
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    # `auto` is NumPy: an example needs no more than the base install.
    base = {"RIBOSWITCH_DISABLE_PLUGINS": "torch,paddle,paddlenlp", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **base, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    warned = [line for line in done.stderr.splitlines() if "Warning" in line]
    assert all("is slow" in line for line in warned), done.stderr  # which a busy machine may say
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    install(folder, dict(PLUGIN.findall(PAGE)))
    return folder


def test_every_hook_has_a_section_and_no_other_is_named():
    titles = re.findall(r"^## (riboswitch_\w+)$", PAGE, re.M)
    assert titles == HOOKS
    own = {name for name, _ in PLUGIN.findall(PAGE)} | {"riboswitch_mine"}
    assert set(re.findall(r"\briboswitch_\w+", PAGE)) - own == {*HOOKS}


def test_every_section_has_the_signature_and_an_example():
    for part in re.split(r"^## (?=riboswitch_)", PAGE, flags=re.M)[1:]:
        name = part.split("\n", 1)[0]
        assert f"<!-- table: {name} -->" in part
        examples = PLUGIN.findall(part)
        assert [f"@impl\ndef {name}(" in text for _, text in examples] == [True]
        assert len(USE.findall(part)) == 1


def test_all_that_is_marked_is_tried():
    marks = re.findall(r"<!-- (plugin|use|contract)", PAGE)
    found = [*PLUGIN.findall(PAGE), *USE.findall(PAGE), *CONTRACT.findall(PAGE)]
    assert len(marks) == len(found) == 2 * len(HOOKS) + 1


def test_the_examples_work_one_after_the_other(site, tmp_path):
    for code, expected in USE.findall(PAGE):
        assert run(site, tmp_path, "-c", code) == expected


def test_the_examples_are_plugins_without_a_complaint(site, tmp_path):
    said = run(site, tmp_path, "-m", "riboswitch", "plugins")
    lines = [line for line in said.splitlines() if " strangers " in line]
    assert len(lines) == len(HOOKS)
    assert all(line.endswith("loaded") for line in lines)


@pytest.mark.parametrize("name", ["echo", "rinalmo-pico", "slashed"])
def test_the_examples_keep_their_contracts(site, tmp_path, name):
    run(site, tmp_path, "-m", "riboswitch", "plugins", "--check", name)


def test_container_and_layout_keep_the_contracts_of_the_page(tmp_path):
    modules = dict(PLUGIN.findall(PAGE))
    text = modules["riboswitch_slashed"].replace('"safetensors"', '"npz"')
    assert text != modules["riboswitch_slashed"]
    install(tmp_path / "site", {**modules, "riboswitch_slashed": text})
    (contract,) = CONTRACT.findall(PAGE)
    (tmp_path / "test_mine.py").write_text(contract)
    said = run(tmp_path / "site", tmp_path, "-m", "pytest", "-q", "test_mine.py")
    assert re.search(r"\d\d passed, 2 xfailed", said), said
