"""Packages that are really installed, in a folder of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

GOOD = """
from attrs import evolve
import riboswitch
from riboswitch.registry import registry

@riboswitch.impl
def riboswitch_models():
    return [evolve(registry().models["rnafm"], name="%s")]
"""
NUMPY = """
import riboswitch
from riboswitch.interfaces import BackendEntry

@riboswitch.impl
def riboswitch_backends():
    return [BackendEntry(name="odd", requires=("json",), install="pip install odd", %s)]
"""
EMBED = (
    "import riboswitch\n"
    "small = dict(num_layers=1, hidden_size=8, num_heads=2, feed_forward_size=8)\n"
    "model = riboswitch.load('rnafm', backend='numpy', weights='random', architecture=small)\n"
    "assert model.embed(['ACGU'])[0].shape == (4, 8)\n"
)
ODD = ("--model=rnafm", "--backend=odd", "--weights=random")


class Site:
    """A folder of installed packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, source: str, *requires: str, version: str = "1.5") -> None:
        """Install a package of one module, which announces one plugin."""
        (self.folder / f"{name}_plugin.py").write_text(source, "utf-8")
        info = self.folder / f"{name}_package-{version}.dist-info"
        info.mkdir()
        wanted = "".join(f"Requires-Dist: {line}\n" for line in requires)
        about = f"Metadata-Version: 2.1\nName: {name}-package\nVersion: {version}\n{wanted}"
        (info / "METADATA").write_text(about, "utf-8")
        (info / "entry_points.txt").write_text(f"[riboswitch]\n{name} = {name}_plugin\n", "utf-8")

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self.folder), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, **variables}
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def listed(self, **variables: str) -> tuple[dict[str, dict[str, str]], str]:
        """What `riboswitch plugins` prints, by name, and what it warns of."""
        done = self.run("-m", "riboswitch", "plugins", "--json", **variables)
        assert done.returncode == 0, done.stderr
        return {p["name"]: p for p in json.loads(done.stdout)["plugins"]}, done.stderr
