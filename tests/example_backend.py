"""Embed the example sequences with the JAX backend that is installed, and compare with NumPy.

Not collected by pytest: it needs an environment in which riboswitch-jax is installed.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import riboswitch

ROOT = Path(__file__).parent.parent
README = ROOT / "docs" / "examples" / "riboswitch-jax" / "README.md"
COMMAND = """
-m riboswitch embed {fasta} -o {backend}.npz --pool mean --model rinalmo-nano --weights random
--backend {backend} --dtype float32
"""


def embed(backend: str, folder: Path) -> np.ndarray:
    """What the command line writes."""
    fasta = ROOT / "docs" / "examples" / "trna.fasta"
    words = COMMAND.format(fasta=fasta, backend=backend).split()
    subprocess.run([sys.executable, *words], cwd=folder, check=True, timeout=120)
    found = riboswitch.open_embeddings(folder / f"{backend}.npz")
    assert found.manifest["backend"] == backend
    return np.stack([found[i] for i in range(len(found))])


def main() -> None:
    """Fail unless both agree and the example of the package's README runs."""
    with tempfile.TemporaryDirectory() as folder:
        expected, found = (embed(backend, Path(folder)) for backend in ("numpy", "jax"))
    assert found.shape == (40, 320)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    (code,) = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.M | re.S)
    exec(compile(code, str(README), "exec"), {})


if __name__ == "__main__":
    main()
