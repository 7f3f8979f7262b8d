"""What a job leaves behind, and how it is removed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from riboswitch.files import storage_errors, sync_folder

LEFTOVERS = re.compile(r"failed\.tsv|\.work|chunk-\d+\.safetensors")
"""What a begun, refused or half-removed store holds: never a manifest."""


def remove_folder(path: Path) -> None:
    """Remove a work folder, if it is there, also while another process removes it."""
    shutil.rmtree(path, ignore_errors=True)


def remove_result(output: Path) -> None:
    """Remove a result of ours but for its work folder, the manifest first.

    So nothing that is half removed can be opened, whenever this is killed.
    """
    with storage_errors(output):
        if not output.is_dir():
            output.unlink(missing_ok=True)
            return
        (output / "manifest.json").unlink(missing_ok=True)
        sync_folder(output)
        for path in output.iterdir():
            if path.is_file() and LEFTOVERS.fullmatch(path.name):
                path.unlink()
