"""A stranger's plugin, installed for one test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from riboswitch import impl
from riboswitch.plugins import installed
from riboswitch.registry import Registry, registry


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a plugin: install(riboswitch_models=lambda: […]); ours stay, and are first."""

    def add(**hooks: Callable[..., object]) -> None:
        module = ModuleType("plugin_of_a_stranger")
        for hook, function in hooks.items():
            setattr(module, hook, impl(function))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        point = EntryPoint(name="stranger", value=module.__name__, group="riboswitch")
        fresh = Registry([*installed(), point])
        fresh._started.update({n: b for n, b in registry()._started.items() if n != "broken"})
        monkeypatch.setattr(registry(), "__dict__", vars(fresh))

    return add


@pytest.fixture
def pack(install) -> Callable[..., None]:
    """Install a container that is written as well as opened."""

    def add(container: object) -> None:
        install(
            riboswitch_open_checkpoint=lambda path: container.open(path),
            riboswitch_write_checkpoint=lambda path, draft: container.write(path, draft),
        )

    return add
