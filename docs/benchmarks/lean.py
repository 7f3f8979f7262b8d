"""Peak memory and time of converting and loading the 650 M model, against reading its file.

    python docs/benchmarks/lean.py FOLDER [torch] [paddle]

Writes random weights of RiNALMo giga's size to FOLDER (needs 8 GB of disk). Every figure is of
a process of its own; memory is the largest resident set, the process's own included.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MEASURED = """
import json, resource, sys, time
{setup}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
{code}
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([seconds, peak * 1024, before * 1024]))
"""
WRITE = """
from riboswitch.conversion.write import save
from riboswitch.registry import registry
from riboswitch.weights import random_weights
entry = registry().model("rinalmo-giga")
save(entry, random_weights(entry.architecture, 0), Path({own!r}), "riboswitch")
"""
READ = """
buffer = bytearray(1 << 24)
with open({file!r}, "rb", 0) as file:
    while file.readinto(buffer):
        pass
"""
COPY = "data = open({file!r}, 'rb').read()"
LOAD = "riboswitch.load('rinalmo-giga', weights={path!r}, backend={backend!r}, dtype='float32')"
CONVERT = "riboswitch.convert({path!r}, {target!r}, to={to!r}, overwrite=True)"


def measure(code: str, setup: str = "import riboswitch") -> tuple[float, float, float]:
    """Run code in a new process: seconds, bytes at the peak, bytes before."""
    script = MEASURED.format(code=code, setup=f"from pathlib import Path\n{setup}")
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    found: tuple[float, float, float] = tuple(json.loads(done.stdout))
    return found


def show(name: str, size: int, code: str, setup: str = "import riboswitch") -> None:
    """Print the best of three."""
    found = [measure(code, setup) for _ in range(3)]
    seconds, peak = min(f[0] for f in found), max(f[1] for f in found)
    print(f"{name:<34}{seconds:7.2f} s   {peak / 1e6:7.0f} MB = {peak / size:.2f} x the file")


def main(folder: Path, frameworks: list[str]) -> None:
    """Write once, then measure each way."""
    own, file = str(folder / "giga"), folder / "giga" / "model.safetensors"
    if not file.exists():
        measure(WRITE.format(own=own))
    size = file.stat().st_size
    print(f"{file.name}: {size / 1e6:.0f} MB")
    show("reading the file, in pieces", size, READ.format(file=str(file)))
    show("reading the file into memory", size, COPY.format(file=str(file)))
    for backend in ("numpy", *frameworks):
        setup = "import riboswitch" + (f", {backend}" if backend != "numpy" else "")
        code = LOAD.format(path=own, backend=backend)
        show(f"loading, {backend}", size, code, setup)
    flash = str(folder / "giga.pt")
    for path, target, to in (
        (own, flash, "rinalmo"),
        (flash, str(folder / "giga-hf"), "multimolecule"),
        (flash, str(folder / "giga-again"), "riboswitch"),
    ):
        show(f"converting to {to}", size, CONVERT.format(path=path, target=target, to=to))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
