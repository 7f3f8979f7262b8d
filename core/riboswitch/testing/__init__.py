"""Contracts: what a plugin must keep to, as test classes that its author subclasses.

    from riboswitch.testing import BackendContract

    class TestMine(BackendContract):
        backend = "mine"

Run with pytest: `pip install "riboswitch[testing]"`. Names are imported when they are first used,
so that their asserts are rewritten before.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

try:
    import pytest
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "riboswitch.testing needs pytest, which is not installed.\n"
        'Install it: pip install "riboswitch[testing]"',
        name=error.name,
    ) from error

if TYPE_CHECKING:
    from riboswitch.testing.backend import BackendContract
    from riboswitch.testing.container import ContainerContract, ReadOnlyContainerContract
    from riboswitch.testing.contract import Contract, overrides
    from riboswitch.testing.family import ModelContract
    from riboswitch.testing.layout import LayoutContract
    from riboswitch.testing.layout_read import ReadOnlyLayoutContract
    from riboswitch.testing.learner import LearnerContract
    from riboswitch.testing.lively import lively_weights
    from riboswitch.testing.tolerances import TOLERANCES

_HOME = {
    "BackendContract": "backend",
    "ContainerContract": "container",
    "Contract": "contract",
    "LayoutContract": "layout",
    "LearnerContract": "learner",
    "ModelContract": "family",
    "ReadOnlyContainerContract": "container",
    "ReadOnlyLayoutContract": "layout_read",
    "TOLERANCES": "tolerances",
    "lively_weights": "lively",
    "overrides": "contract",
}

__all__ = [
    "TOLERANCES",
    "BackendContract",
    "ContainerContract",
    "Contract",
    "LayoutContract",
    "LearnerContract",
    "ModelContract",
    "ReadOnlyContainerContract",
    "ReadOnlyLayoutContract",
    "lively_weights",
    "overrides",
]

pytest.register_assert_rewrite(*(m.name for m in iter_modules(__path__, "riboswitch.testing.")))


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'riboswitch.testing' has no attribute {name!r}")
    value = getattr(import_module(f"riboswitch.testing.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
