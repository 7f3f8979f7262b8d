"""Where the tests of plugins install their packages."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest
from tests.core.installed import Site

from riboswitch import impl


@pytest.fixture
def site(tmp_path) -> Site:
    return Site(tmp_path)


class Points:
    """Modules made on the spot and announced as entry points: points("name", hook=function)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def named(self, name: str, module: str) -> EntryPoint:
        return EntryPoint(name=name, value=module, group="riboswitch")

    def __call__(self, name: str, value: str | None = None, **hooks) -> EntryPoint:
        module = ModuleType(value or f"plugin_of_{name}")
        for hook, function in hooks.items():
            setattr(module, hook, impl(function))
        self._monkeypatch.setitem(sys.modules, module.__name__, module)
        return self.named(name, module.__name__)


@pytest.fixture
def points(monkeypatch) -> Points:
    return Points(monkeypatch)
