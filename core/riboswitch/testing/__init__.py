"""Contracts: what a plugin must keep to, as test classes that its author subclasses.

    from riboswitch.testing import BackendContract

    class TestMine(BackendContract):
        backend = "mine"

Run with pytest: `pip install "riboswitch[testing]"`.
"""

from __future__ import annotations

from pkgutil import iter_modules

try:
    import pytest
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "riboswitch.testing needs pytest, which is not installed.\n"
        'Install it: pip install "riboswitch[testing]"',
        name=error.name,
    ) from error

pytest.register_assert_rewrite(*(m.name for m in iter_modules(__path__, "riboswitch.testing.")))

from riboswitch.testing.backend import BackendContract  # noqa: E402  # asserts are rewritten first
from riboswitch.testing.contract import Contract, overrides  # noqa: E402
from riboswitch.testing.family import ModelContract  # noqa: E402
from riboswitch.testing.layout import LayoutContract  # noqa: E402
from riboswitch.testing.lively import lively_weights  # noqa: E402
from riboswitch.testing.tolerances import TOLERANCES  # noqa: E402

__all__ = [
    "TOLERANCES",
    "BackendContract",
    "Contract",
    "LayoutContract",
    "ModelContract",
    "lively_weights",
    "overrides",
]
