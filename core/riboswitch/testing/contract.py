"""`Contract`: facts that a subclass states, and tests that it may not quietly drop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property
from inspect import get_annotations, getattr_static
from typing import Any, ClassVar, TypeVar

import pytest

from riboswitch.errors import RiboswitchError
from riboswitch.testing.guard import EXPECTED, WRONG, Guard

F = TypeVar("F", bound=Callable[..., Any])
_HOME = "riboswitch.testing."
_REASON = "__riboswitch_reason__"
_UNCOLLECTED = ("__init__", "__new__")
"""With one of these pytest passes over a class, with a warning at most."""
_DROPPING = {"skip", "skipif", "xfail"}


def overrides(reason: str) -> Callable[[F], F]:
    """Mark a method that replaces one of a contract, and say why it must.

    Args:
        reason: A sentence for who reads the tests.

    Raises:
        TypeError: There is no reason.
    """
    if not isinstance(reason, str) or not reason.strip():
        raise TypeError('Give a reason: @overrides("what differs here, and why that is right")')

    def mark(function: F) -> F:
        setattr(function, _REASON, reason)
        return function

    return mark


class Contract:
    """What all contracts share.

    A subclass states facts: class attributes that a contract lists under its own. What it
    replaces otherwise needs `@overrides("reason")`; else defining it is a `TypeError`, and so a
    failure to collect its tests. A test of it that is skipped without a reason fails. A fact that
    is missing, or names what is not installed, fails one test and skips the others.

    Attributes:
        exempt: Tests that are known to fail, by name or by `name[parameter]`, and the reason of
            each. They run and are reported as expected failures; one that passes is a failure,
            and so is the name of a test or of a parameter that does not exist.
    """

    exempt: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not _shipped(cls):
            _check_names(cls)
            cls._check_facts(cls)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Look again when the tests are collected, and watch how they end."""
        _check_names(type(self))
        self._check_facts(type(self))
        manager = metafunc.config.pluginmanager
        if not manager.has_plugin(Guard.name):
            manager.register(Guard(is_contract, tests_of, problem_of), Guard.name)

    @classmethod
    def _check_facts(cls, facts: Any) -> None:
        """Check what is stated: by the class, or by an object that has other values of its own."""
        _check_exemptions(cls, facts.exempt)

    def _look_up(self) -> None:
        """Look for what the facts name; a `RiboswitchError` says that there is none."""

    @pytest.fixture(autouse=True)
    def _exempted(self, request: pytest.FixtureRequest) -> None:
        """Expect the failures that `exempt` names."""
        node = request.node
        if problem := node.stash.get(WRONG, ""):
            pytest.fail(problem, pytrace=False)
        for name in {getattr(node, "originalname", node.name), node.name} & self.exempt.keys():
            node.stash[EXPECTED] = True
            node.add_marker(pytest.mark.xfail(reason=self.exempt[name], strict=True))


def facts_of(kind: type[Contract]) -> set[str]:
    """Names of the facts that a subclass may state."""
    return {n for base in kind.__mro__ if _shipped(base) for n in get_annotations(base)}


def tests_of(kind: type) -> set[str]:
    """Names of the tests that a contract brings."""
    return {n for n in _own_names(kind) if n.startswith("test")}


def problem_of(test: Contract) -> str:
    """What is wrong with a test's class or object once its fixtures have run; empty for nothing."""
    try:
        _check_names(type(test))
        _check_object(test)
        test._check_facts(test)
        test._look_up()
    except (TypeError, RiboswitchError) as error:
        return str(error)
    return ""


def is_contract(kind: object) -> bool:
    """Whether a test class keeps a contract."""
    return isinstance(kind, type) and issubclass(kind, Contract)


def _shipped(kind: type) -> bool:
    return f"{kind.__module__}.".startswith(_HOME)


def _check_names(kind: type[Contract]) -> None:
    """Each name of the contract is the contract's own, a fact, or replaced with a reason."""
    facts, own = facts_of(kind), set(_own_names(kind))
    for name in own - facts:
        owner = next(base for base in kind.__mro__ if name in vars(base))
        if not _shipped(owner):
            _check_override(owner, name)
    for base in kind.__mro__:
        if base is not object and not _shipped(base):
            _check_collected(base)
    for name, value in vars(kind).items():
        unknown = name not in facts | own and not name.startswith(("_", "test", "pytest"))
        if unknown and not callable(value) and (near := get_close_matches(name, facts, 1)):
            raise TypeError(f"{kind.__name__} states {name!r}; did you mean {near[0]!r}?")


def _check_override(owner: type, name: str) -> None:
    value = vars(owner)[name]
    if not getattr(value, _REASON, ""):
        raise TypeError(
            f"{owner.__name__}.{name} replaces a part of the contract without a reason.\n"
            'Remove it, put the test into `exempt`, or mark it: @overrides("the reason")'
        )
    marks = {mark.name for mark in getattr(value, "pytestmark", ())}
    if marks & _DROPPING or (name.startswith("test") and not callable(value)):
        raise TypeError(
            f"{owner.__name__}.{name} replaces a test of the contract by one that does not run.\n"
            "Put the test into `exempt`: then it runs, and is expected to fail."
        )


def _check_object(test: Contract) -> None:
    """All facts are stated, and nothing of the contract is replaced for one test alone."""
    name, facts = type(test).__name__, facts_of(type(test))
    own = {n for n in _own_names(type(test)) if not _keeps(type(test), n)}
    if replaced := sorted(vars(test).keys() & own - facts):
        raise TypeError(
            f"{name} sets self.{replaced[0]}, which replaces a part of the contract.\n"
            'Define it in the class, marked: @overrides("the reason")'
        )
    if lacking := sorted(fact for fact in facts if not hasattr(test, fact)):
        raise TypeError(
            f"{name} does not state {lacking[0]!r}, which says what is tested.\n"
            f"State it in the class: {lacking[0]} = …"
        )


def _keeps(kind: type, name: str) -> bool:
    """Whether an object has it once it has been asked for."""
    return isinstance(getattr_static(kind, name), cached_property)


def _check_collected(owner: type) -> None:
    for name in _UNCOLLECTED:
        if name in vars(owner):
            raise TypeError(
                f"{owner.__name__} has {name}, so pytest would collect none of its tests.\n"
                "Prepare in a fixture instead: @pytest.fixture(autouse=True)"
            )


def _own_names(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        if _shipped(base):
            yield from (n for n in vars(base) if not n.startswith("__"))


def _check_exemptions(kind: type[Contract], exempt: Mapping[str, str]) -> None:
    tests = [name for name in dir(kind) if name.startswith("test")]
    for key, reason in exempt.items():
        name = key.partition("[")[0]
        if name not in tests:
            near = get_close_matches(name, tests, 1)
            raise TypeError(f"{kind.__name__} exempts {name!r}, which is no test of it: {near}")
        if not isinstance(reason, str) or not reason.strip():
            raise TypeError(f"{kind.__name__} exempts {name!r} without a reason.")
