"""What an import brings along, in a fresh interpreter, and the names that come when used."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import riboswitch

FRAMEWORKS = {"torch", "paddle", "paddlenlp", "safetensors", "pyarrow", "jax", "tensorflow"}
FRAMEWORKS |= {"huggingface_hub", "pooch", "requests"}
REPORT = "import json, sys; print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"


def run(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def loaded_by(code: str) -> set[str]:
    return set(json.loads(run(f"{code}\n{REPORT}")))


def test_importing_the_package_loads_no_framework_and_no_plugin():
    loaded = loaded_by("import riboswitch")
    assert "riboswitch" in loaded
    assert not loaded & FRAMEWORKS
    assert not {n for n in loaded if n.startswith("riboswitch_")}


def test_listing_the_models_loads_no_framework():
    loaded = loaded_by("import riboswitch; assert 'rnafm' in riboswitch.models()")
    assert "riboswitch_models" in loaded
    assert not loaded & FRAMEWORKS


def test_listing_the_backends_loads_no_framework():
    code = (
        "from riboswitch.registry import registry\n"
        "assert 'torch' in registry().backends and registry().layouts"
    )
    assert not loaded_by(code) & FRAMEWORKS


def test_the_numpy_backend_loads_no_other_framework():
    code = (
        "import riboswitch as r\n"
        "small = dict(num_layers=1, hidden_size=8, num_heads=2, feed_forward_size=8)\n"
        "r.load('rnafm', backend='numpy', weights='random', architecture=small).embed(['ACGU'])"
    )
    assert not loaded_by(code) & {"torch", "paddle"}


def test_importing_the_package_is_quick():
    code = (
        "import time; start = time.perf_counter()\n"
        "import riboswitch; print(time.perf_counter() - start)"
    )
    assert min(float(run(code)) for _ in range(5)) < 0.15


def test_names_come_when_they_are_used():
    code = (
        "import riboswitch, sys\n"
        "assert 'numpy' not in sys.modules\n"
        "assert all(hasattr(riboswitch, name) for name in riboswitch.__all__)\n"
        "assert set(riboswitch.__all__) <= set(dir(riboswitch))\n"
        "assert not hasattr(riboswitch, 'lod')"
    )
    run(code)


def test_the_lazy_names_are_those_that_type_checkers_see():
    tree = ast.parse(Path(riboswitch.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {(f"riboswitch.{m}", n) for m, names in riboswitch._HOMES.items() for n in names}
    homes |= {("riboswitch", room) for room in riboswitch._ROOMS}
    assert seen == homes
