"""What is imported when a plugin announces something: it must be light, for every command asks."""

from __future__ import annotations

import os
import subprocess
import sys

from riboswitch.interfaces import BackendEntry, Layout, ModelEntry
from riboswitch.plugins import DISABLE, OURS
from riboswitch.registry import registry

FRAMEWORKS = ("flax", "jax", "mindspore", "paddle", "tensorflow", "torch", "transformers")
_ANNOUNCED = """
import sys
from riboswitch.registry import registry
kind, name, *heavy = sys.argv[1:]
entry = getattr(registry(), kind)[name]
for model in registry().models.values() if kind == "backends" else ():
    entry.refuses(model.architecture)
heavy += getattr(entry, "requires", ())
print(*sorted({*heavy} & {*sys.modules} - {"numpy"}))
"""


def frameworks_imported(entry: BackendEntry | ModelEntry | Layout) -> list[str]:
    """Frameworks that are in use once an entry is announced, in a process without other plugins."""
    kind = {BackendEntry: "backends", ModelEntry: "models", Layout: "layouts"}[type(entry)]
    owner = registry().owner(entry)
    others = [p.name for p in registry().plugins if p.package != OURS and p is not owner]
    done = subprocess.run(  # noqa: S603  # our own words
        [sys.executable, "-c", _ANNOUNCED, kind, entry.name, *FRAMEWORKS],
        env={**os.environ, DISABLE: ",".join([os.environ.get(DISABLE, ""), *others])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
