"""The parts of the documentation that are made from what the code declares.

    python docs/tables.py          # print them
    python docs/tables.py --write  # put them into the pages

`tests/docs` fails while a page says something else than this makes. What a backend declares of its
dtypes needs its framework: where that is not installed, the page's own row is kept, and
`tests/parity/test_support.py` compares it where it is.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
from attrs import frozen
from packaging.requirements import Requirement
from packaging.version import Version

from riboswitch import hookspecs
from riboswitch.conversion.plan import make_plan
from riboswitch.errors import CheckpointError
from riboswitch.interfaces import Array, BackendEntry, ModelEntry
from riboswitch.registry import missing, refusal, registry
from riboswitch.weights import LazyWeights

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which pytest brings

DOCS = Path(__file__).parent
PYPROJECT = tomllib.loads((DOCS.parent / "pyproject.toml").read_text("utf-8"))
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->\n)", re.S)
SUPPORT = DOCS / "support.md"


@frozen
class Task:
    """What a user asks of a model.

    Attributes:
        name: In the table.
        can: Whether a model can do it, on every backend that takes the model.
    """

    name: str
    can: Callable[[ModelEntry], bool]


@frozen
class Cell:
    """One combination that the page claims, and that a test runs."""

    model: str
    backend: str
    dtype: str
    task: str


PINS = {
    "numpy": ("numpy",),
    "torch": ("torch",),
    "paddle": ("paddlepaddle",),
    "paddlenlp": ("paddlenlp", "paddlepaddle"),
}
"""Packages of each backend, by the names under which they are installed."""
GPUS = {"torch": ("cuda", "mps"), "paddle": ("gpu",), "paddlenlp": ("gpu",)}


def _fills(entry: ModelEntry) -> bool:
    """It needs a head, and words that do not overlap."""
    return entry.architecture.lm_head and entry.alphabet.stride == entry.alphabet.k


TASKS = (
    Task("embed", lambda _: True),
    Task("fill-mask", _fills),
    Task("pooled", lambda entry: entry.architecture.pooler),
)


def claims() -> list[Cell]:
    """All that the page promises on the CPU."""
    return [
        Cell(entry.name, backend.name, dtype, task)
        for entry in models()
        for backend in backends()
        for dtype in stored_dtypes(backend.name)
        for task in tasks(entry, backend)
    ]


def tasks(entry: ModelEntry, backend: BackendEntry) -> list[str]:
    """What a model can do on a backend; nothing where the backend refuses it."""
    if refusal(backend, entry.architecture):
        return []
    return [task.name for task in TASKS if task.can(entry)]


def models() -> list[ModelEntry]:
    """Those that riboswitch itself announces."""
    return [entry for name, entry in registry().models.items() if ("model", name) in _ours()]


def backends() -> list[BackendEntry]:
    """Those that riboswitch itself announces, the base install's first."""
    names = {name for kind, name in _ours() if kind == "backend"}
    return [registry().backends[name] for name in sorted(names, key=list(PINS).index)]


def stored_dtypes(backend: str) -> tuple[str, ...]:
    """Dtypes that the page claims for a backend on the CPU."""
    return tuple(re.findall(r"`(\w+)`", _stored_row(backend)[2]))


def conversions() -> str:
    """What is written of each family, by layout, and how many tokens are lost or borrowed."""
    names = [layout.name for layout in registry().layouts.values() if layout.form]
    rows = [[title, *(_cell(entry, name) for name in names)] for title, entry in _sources(names)]
    return _table(["", *(f"`{name}`" for name in names)], rows)


def support() -> str:
    """What each model can do on each backend."""
    titles = ["model", *(f"`{backend.name}`" for backend in backends())]
    rows = [
        [f"`{entry.name}`", *(", ".join(tasks(entry, b)) or "refused" for b in backends())]
        for entry in models()
    ]
    return _table(titles, rows)


def dtypes() -> str:
    """Versions and dtypes of each backend."""
    titles = ["backend", "tried with", "dtypes on the CPU", "dtypes on GPUs: declared, not run"]
    return _table(titles, [row(backend.name) for backend in backends()])


def count() -> str:
    """How many combinations there are."""
    return (
        f"Together these are **{len(claims())} combinations** of model, backend, dtype and task.\n"
    )


def row(backend: str) -> list[str]:
    """A backend's row: what it declares where its framework is, else what the page says."""
    if missing(registry().backends[backend]):
        _, _, cpu, gpus = _stored_row(backend)
    else:
        cpu = _listed(declared(backend, "cpu"))
        gpus = "; ".join(f"{d}: {_listed(declared(backend, d))}" for d in GPUS.get(backend, ()))
    return [f"`{backend}`", versions(backend), cpu, gpus]


def declared(backend: str, device: str) -> tuple[str, ...]:
    """Dtypes that a backend declares; of a GPU that is not here, that it can all its kind can."""
    able: AbstractContextManager[object] = nullcontext()
    if backend == "paddle" and device != "cpu":
        able = patch("paddle.amp.is_bfloat16_supported", return_value=True)
    with able:
        return registry().backend(backend).dtypes(device)


def versions(backend: str) -> str:
    """The versions that nox installs, of NumPy the lowest one allowed and whatever is newest."""
    project = PYPROJECT["project"]
    if backend == "numpy":
        return f"numpy {_found(project['dependencies'], 'numpy')[0]} and the newest"
    tried = [line for group in PYPROJECT["dependency-groups"].values() for line in group]
    if backend != "paddlenlp":  # that is tried in no lower version
        tried += project["optional-dependencies"][backend]
    return ", ".join(f"{p} {' and '.join(_found(tried, p))}" for p in PINS[backend])


def signature(hook: str) -> str:
    """A hook as its specification declares it."""
    said = str(inspect.signature(getattr(hookspecs, hook))).replace("'", "")
    return f"```python\n@impl\ndef {hook}{said}: ...\n```\n"


def hooks() -> list[str]:
    """Names of all hooks, in the order of their specifications."""
    return [name for name in vars(hookspecs) if name.startswith("riboswitch_")]


MAKERS: dict[str, Callable[[], str]] = {
    "conversions": conversions,
    "support": support,
    "dtypes": dtypes,
    "count": count,
    **{hook: lambda hook=hook: signature(hook) for hook in hooks()},
}


def pages() -> list[Path]:
    """The pages that have such a part."""
    return [page for page in sorted(DOCS.glob("*.md")) if BLOCK.search(page.read_text("utf-8"))]


def made(page: Path) -> str:
    """A page with today's tables."""
    return BLOCK.sub(lambda m: m[1] + MAKERS[m[2]]() + m[3], page.read_text("utf-8"))


@cache
def _ours() -> set[tuple[str, str]]:
    own = [plugin.name for plugin in registry().plugins if plugin.package == "riboswitch"]
    return {pair for name in own for pair in registry().announced(name)}


def _found(requirements: Iterable[str], package: str) -> list[str]:
    """The versions of a package that requirements name, the lowest first."""
    named = [wanted for wanted in map(Requirement, requirements) if wanted.name == package]
    parts = [part for wanted in named for part in wanted.specifier]
    found = {part.version for part in parts if part.operator in {">=", "=="}}
    if not found:
        raise SystemExit(f"nothing says which version: {package}")
    return sorted(found, key=Version)


def _stored_row(backend: str) -> list[str]:
    found = re.search(rf"^\| (`{backend}` \|.*`.*) \|$", SUPPORT.read_text("utf-8"), re.M)
    if found is None:
        raise SystemExit(f"{SUPPORT} has no row of dtypes for {backend}")
    return [cell.strip() for cell in found[1].split("|")]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


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


def write() -> None:
    """Bring every page up to date; twice, since one table is read for another."""
    for page in pages() * 2:
        page.write_text(made(page), "utf-8")


if __name__ == "__main__":
    if "--write" in sys.argv:
        write()
    else:
        print(*(m[0] for page in pages() for m in BLOCK.finditer(made(page))), sep="\n", end="")
