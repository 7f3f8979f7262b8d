"""Backends as one fixture, and `--require-backend`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import settings

from riboswitch import Architecture, Model, RiboswitchError
from riboswitch.interfaces import Backbone, BackendEntry, Layout, ModelEntry
from riboswitch.plugins import Plugin
from riboswitch.registry import missing, registry
from riboswitch.testing import TOLERANCES, lively_weights
from riboswitch.weights import LazyWeights

BACKENDS = ("numpy", "torch", "paddle")
LACKING = pytest.StashKey[str]()

SMALL = {"num_layers": 2, "hidden_size": 48, "num_heads": 4, "feed_forward_size": 80}

settings.register_profile("tests", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-backend",
        default="",
        metavar="NAME[,NAME]",
        help="backends that must be here: a test marked for one of them fails where it would skip",
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    for name in _required(session.config):
        try:
            registry().backend(name)
        except RiboswitchError as error:
            raise pytest.UsageError(f"--require-backend={name}: {error}") from error


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs more than NumPy, so that a session of one framework can run that alone."""
    for item in items:
        if _marked(item) - {"numpy"}:
            item.add_marker("framework")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Processes side by side must agree on names, and bytes may differ (gzip notes the time)."""
    return "bytes" if isinstance(val, bytes) else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in _marked(item):
        if name not in registry().backends:
            pytest.fail(f"the backend marker names {name!r}, which no plugin announces")
        if lacking := missing(registry().backends[name]):
            item.stash[LACKING] = name
            pytest.skip(f"the backend {name} needs {', '.join(lacking)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    # A test of two backends may skip when the one that nobody promised is not there.
    excused = item.stash.get(LACKING, "") not in {"", *_required(item.config)}
    if skipped and not excused and (names := _marked(item) & _required(item.config)):
        report.outcome = "failed"
        report.longrepr = f"skipped under --require-backend={','.join(names)}: {report.longrepr}"
    return report


def _required(config: pytest.Config) -> set[str]:
    return {name.strip() for name in config.getoption("--require-backend").split(",")} - {""}


def _marked(item: pytest.Item) -> set[str]:
    return {name for mark in item.iter_markers("backend") for name in mark.args}


@pytest.fixture(
    scope="session", params=[pytest.param(n, marks=pytest.mark.backend(n)) for n in BACKENDS]
)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of each backend in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def tolerance() -> Mapping[tuple[str, str], float]:
    """The one table, by what is compared and dtype."""
    return TOLERANCES


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of small checkpoints and what the public implementations made of them."""
    return Path(__file__).parent / "data" / "fixtures"


@pytest.fixture(scope="session")
def lively() -> Callable[..., LazyWeights]:
    """Draw weights whose biases, scales and activations all matter."""
    return lively_weights


@pytest.fixture(scope="session")
def build() -> Callable[..., Backbone]:
    """Make a backbone of lively weights: build(backend, architecture, dtype="float32")."""
    return build_backbone


@pytest.fixture(scope="session")
def small() -> Callable[..., Model]:
    """Make a shrunken model of lively weights: small(name, backend, dtype="float32", **sizes)."""
    return small_model


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the registry know an entry, in the place of that name or first: plant(entry, name)."""

    def add(entry: BackendEntry | ModelEntry | Layout, name: str | None = None) -> None:
        kinds = {BackendEntry: "_backends", ModelEntry: "models", Layout: "layouts"}
        entries, name = getattr(registry(), kinds[type(entry)]), name or entry.name
        found = {**({} if name in entries else {name: entry}), **entries, name: entry}
        owner = Plugin(EntryPoint("planted", "planted", "riboswitch"), "planted", "0", "loaded")
        monkeypatch.setattr(entries, "owners", {**entries.owners, name: owner})
        monkeypatch.setattr(entries, "_found", found)
        monkeypatch.setattr(registry(), "_started", {})

    return add


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Pretend that the machine has so many cores."""
    return lambda count: monkeypatch.setattr("riboswitch.model.num_cores", lambda: count)


def build_backbone(
    backend: str, architecture: Architecture, dtype: str = "float32", seed: int = 0
) -> Backbone:
    weights = lively_weights(architecture, seed)
    return registry().backend(backend).build(architecture, weights, device="cpu", dtype=dtype)


def small_model(name: str, backend: str, dtype: str = "float32", **sizes: Any) -> Model:
    changes = {**SMALL, **sizes}
    entry = registry().model(name)
    entry = evolve(entry, architecture=entry.architecture.evolve(changes))
    chosen, weights = registry().backend(backend), lively_weights(entry.architecture)
    backbone = chosen.build(entry.architecture, weights, device="cpu", dtype=dtype)
    return Model(entry, chosen, backbone, weights, "cpu", dtype)
