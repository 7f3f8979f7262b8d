"""Contracts of whatever is named: what `riboswitch plugins --check NAME` lets pytest collect.

Which ones stands in the environment, since pytest imports this module itself.
"""

from __future__ import annotations

import json
import os

from riboswitch import testing
from riboswitch.registry import registry

VARIABLE = "RIBOSWITCH_CHECK"
"""JSON: a list of pairs, (backend, model or layout; its name)."""

CONTRACTS: dict[str, type[testing.Contract]] = {
    "backend": testing.BackendContract,
    "model": testing.ModelContract,
    "layout": testing.LayoutContract,
}


def contract_of(kind: str, name: str) -> type[testing.Contract]:
    """A contract's subclass for one thing; its name says which it is."""
    title = f"Test_{kind}_{name}"
    facts: dict[str, object] = {kind: name}
    if kind == "backend":
        devices = registry().backend(name).devices()
        facts["device"] = "cpu" if "cpu" in devices else devices[0]
    return type(title, (CONTRACTS[kind],), {**facts, "__module__": "checked"})


for _kind, _name in json.loads(os.environ.get(VARIABLE, "[]")):
    globals()[f"Test_{_kind}_{_name}"] = contract_of(_kind, _name)
