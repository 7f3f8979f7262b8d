"""The tables of the documentation that are made from the registry.

    python docs/tables.py          # print them
    python docs/tables.py --write  # put them into the pages

`tests/docs` fails while a page has another table than this makes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from riboswitch.conversion.plan import make_plan
from riboswitch.errors import CheckpointError
from riboswitch.interfaces import Array, ModelEntry
from riboswitch.registry import registry
from riboswitch.weights import LazyWeights

PAGE = Path(__file__).parent / "checkpoints.md"
BEGIN, END = "<!-- table: conversions -->\n", "<!-- end of table -->\n"


def conversions() -> str:
    """What is written of each family, by layout, and how many tokens are lost or borrowed."""
    names = [layout.name for layout in registry().layouts.values() if layout.form]
    rows = [[title, *(_cell(entry, name) for name in names)] for title, entry in _sources(names)]
    lines = [["", *(f"`{name}`" for name in names)], ["---"] * (len(names) + 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def page() -> str:
    """The page with today's table."""
    before, begin, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE} has no {BEGIN.strip()} … {END.strip()}")
    return before + BEGIN + conversions() + END + after


def _sources(names: list[str]) -> list[tuple[str, ModelEntry]]:
    """A model of each family, with its own vocabulary and each that a layout gives it."""
    families: dict[str, ModelEntry] = {}
    for entry in registry().models.values():
        families.setdefault(entry.family, entry)
    found: list[tuple[str, ModelEntry]] = []
    for family, entry in families.items():
        found.append((f"{family} as released", entry))
        for name in names:
            held = _held(entry, name)
            if held.alphabet != entry.alphabet:
                found.append((f"{family} in `{name}`", held))
    return found


def _held(entry: ModelEntry, name: str) -> ModelEntry:
    try:
        return registry().layout(name).target(entry)
    except CheckpointError:
        return entry


def _cell(entry: ModelEntry, name: str) -> str:
    names = entry.architecture.parameter_shapes()
    weights = LazyWeights(names, lambda n: _zeros(names[n]))
    try:
        plan = make_plan(entry, weights, name)
    except CheckpointError:
        return "no"
    said = [f"{len(plan.lost_tokens)} tokens lost"] if plan.lost_tokens else []
    said += [f"{len(plan.borrowed)} borrowed"] if plan.borrowed else []
    return ", ".join(said) or "**all**"


def _zeros(shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(np.float32(0), shape)


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page(), "utf-8")
    else:
        print(conversions(), end="")
