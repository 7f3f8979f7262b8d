"""Memory of loading and converting, beside what the process has before: in sizes of the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from riboswitch.conversion.write import save
from riboswitch.weights import random_weights

MEASURE = """
import json, os, resource, sys, threading, time
import riboswitch
{setup}
riboswitch.load("rinalmo-nano", weights="random", backend={backend!r},
                architecture={{"num_layers": 1}}).embed(["ACGU"])

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak begins anew
before = resident()
kept = {code}
with open("/proc/self/status") as file:
    peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024
print(json.dumps(peak - before))
"""
HEADS = 'architecture={"num_heads": 20}'


@pytest.fixture(scope="session")
def large(entry, tmp_path_factory) -> Path:
    """A model of 100 MB in our own layout, and the same as a RiNALMo file."""
    folder = tmp_path_factory.mktemp("large")
    made = entry("rinalmo-mega", hidden_size=640, num_layers=5, num_heads=20,
                 feed_forward_size=1706)  # fmt: skip
    weights = random_weights(made.architecture, 0)
    save(made, weights, folder / "own", "riboswitch")
    save(made, weights, folder / "flash.pt", "rinalmo")
    return folder


def peak(folder: Path, code: str, backend: str = "numpy", setup: str = "") -> float:
    """The peak above what was there, in sizes of the file."""
    script = MEASURE.format(code=code, backend=backend, setup=setup)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: float = json.loads(done.stdout)
    return found / (folder / "own" / "model.safetensors").stat().st_size


pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc"
)


def load(path: str, backend: str) -> str:
    return f'riboswitch.load("rinalmo-mega", weights="{path}", backend="{backend}", {HEADS})'


def test_our_own_layout_is_its_file_in_memory(large) -> None:
    assert 0.9 < peak(large, load("own", "numpy")) <= 1.15


@pytest.mark.backend("torch")
def test_our_own_layout_is_its_file_in_memory_for_torch(large) -> None:
    assert 0.9 < peak(large, load("own", "torch"), "torch") <= 1.15


def test_another_layout_is_copied_once(large) -> None:
    assert 0.9 < peak(large, load("flash.pt", "numpy")) <= 1.25


@pytest.mark.parametrize(
    ("source", "target", "options"),
    [
        ("own", "a.pt", 'to="rinalmo"'),
        ("flash.pt", "b", 'to="riboswitch", verify=True'),
        ("flash.pt", "c", 'to="multimolecule"'),
    ],
)
def test_converting_holds_one_tensor_at_a_time(large, source, target, options) -> None:
    code = f'riboswitch.convert("{source}", "{target}", {options}, {HEADS})'
    assert peak(large, code) <= 1.2
