"""Contracts of whatever is named: what `riboswitch plugins --check NAME` lets pytest collect.

Which ones stands in the environment, since pytest imports this module itself.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from riboswitch.errors import CheckpointError
from riboswitch.interfaces import Checkpoint, Draft
from riboswitch.registry import devices_of, registry
from riboswitch.testing.backend import BackendContract
from riboswitch.testing.container import DTYPES, ContainerContract
from riboswitch.testing.contract import Contract
from riboswitch.testing.family import ModelContract
from riboswitch.testing.layout import LayoutContract
from riboswitch.testing.layout_read import UnwrittenLayoutContract
from riboswitch.testing.learner import LearnerContract
from riboswitch.testing.openers import OpenerContract, containers, draft_of

VARIABLE = "RIBOSWITCH_CHECK"
"""JSON: a list of pairs, (what kind of thing; its name)."""
SEAL, CONFIG = "0" * 64, {"a": 1}

CONTRACTS: dict[str, type[Contract]] = {
    "backend": BackendContract,
    "learner": LearnerContract,
    "model": ModelContract,
    "layout": LayoutContract,
    "container": ContainerContract,
    "opener": OpenerContract,
}


def contract_of(kind: str, name: str) -> type[Contract]:
    """A contract's subclass for one thing; its name says which it is."""
    base, facts = CONTRACTS[kind], {kind: name}
    if kind in ("backend", "learner"):
        facts = {"backend": name, "device": _devices(name)[0]}
    elif kind == "layout" and registry().layout(name).form is None:
        base = UnwrittenLayoutContract
    elif kind == "container":
        facts |= found_of(name)
    elif kind == "opener":
        facts = {"plugin": name}
    return type(f"Test_{kind}_{name}", (base,), {**facts, "__module__": "checked"})


def kinds_of(kind: str, name: str) -> tuple[str, ...]:
    """Names of the contracts of one thing: a backend that trains has two."""
    trains = kind == "backend" and registry().backends[name].trains
    return ("backend", "learner") if trains else (kind,)


def note_of(kind: str, name: str) -> str | None:
    """What could not be checked of a thing, and why; None where all was."""
    if kind == "backend" and (others := _devices(name)[1:]):
        contracts = " and LearnerContract" * registry().backends[name].trains
        return (
            f"tested on one device, not on {', '.join(others)}: subclass BackendContract{contracts}"
        )
    if kind == "layout" and registry().layout(name).form is None:
        return (
            "it is only read, so no file of it could be made, and how it reads was not tested: "
            "subclass ReadOnlyLayoutContract and give `examples`"
        )
    if kind == "container":
        found = found_of(name)
        kept = [what for what in ("seal", "config") if found[f"keeps_{what}"]]
        return (
            "what it should hold is declared nowhere, so it was tested for what it does hold, "
            f"{', '.join(found['dtypes'])}{', and '.join(['', *kept])}, and not for checksums: "
            "subclass ContainerContract"
        )
    if kind == "opener":
        return (
            "no layout names a container that it writes, so no file of it could be made, and how "
            "it reads and writes was not tested: subclass ContainerContract or "
            "ReadOnlyContainerContract"
        )
    return None


def found_of(container: str) -> dict[str, Any]:
    """Facts of a container that nobody states: what it turns out to hold."""
    suffix = containers().get(container, "")
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / f"file{suffix}"
        dtypes = tuple(d for d in DTYPES if _opened(path, draft_of(container, d)))
        plain = draft_of(container).tensors
        sealed = _opened(path, Draft(container=container, tensors=plain, seal=SEAL))
        with_config = _opened(path, Draft(container=container, tensors=plain, config=CONFIG))
    return {
        "suffix": suffix,
        "dtypes": dtypes,
        "keeps_seal": sealed is not None and sealed.seal is not None,
        "keeps_config": with_config is not None and bool(with_config.config),
    }


def _opened(path: Path, draft: Draft) -> Checkpoint | None:
    path.unlink(missing_ok=True)
    try:
        registry().write_checkpoint(path, draft)
        return registry().open_checkpoint(path)
    except CheckpointError:
        return None


def _devices(backend: str) -> list[str]:
    """Those of a backend, the one to test on first."""
    return sorted(devices_of(registry().backend(backend)), key=lambda device: device != "cpu")


for _target, _name in json.loads(os.environ.get(VARIABLE, "[]")):
    for _kind in kinds_of(_target, _name):
        globals()[f"Test_{_kind}_{_name}"] = contract_of(_kind, _name)
