"""Run the README's first command with the riboswitch that is installed, and look at its result.

Not collected by pytest: it needs an environment with nothing but the wheel in it.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Fail unless the command works from a folder that is no clone."""
    text = (ROOT / "README.md").read_text("utf-8")
    found = re.search(r"pip install \. && (riboswitch embed .+)", text)
    assert found, "the README has no first command"
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "docs" / "examples", Path(folder) / "docs" / "examples")
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        subprocess.run(shlex.split(found[1]), cwd=folder, env=environment, check=True, timeout=60)
        code = (
            "import sys, riboswitch as r; e = r.open_embeddings('trna.npz');"
            "assert len(e) == 40 and e[0].shape == (128,) and len(set(e.ids)) == 40;"
            "assert e.manifest['backend'] == 'numpy';"
            "assert not {'torch', 'paddle'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)


if __name__ == "__main__":
    main()
