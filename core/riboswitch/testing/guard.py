"""`Guard`: sees how the tests of a contract end, in whoever's run of pytest.

A contract registers it when its tests are collected, so an author need load no plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable
from typing import Any

import pytest

EXPECTED = pytest.StashKey[bool]()
"""On a test whose failure `exempt` names."""
WRONG = pytest.StashKey[str]()
"""On a test that must fail: what is wrong with its exemptions, its class or its object."""
SAID = pytest.StashKey[str]()
"""On a test that is left out: another one of its class has said what is wrong."""
_NO_REASON = ("", "unconditional skip")


class Guard:
    """A plugin of pytest: no test of a contract is skipped or excused without a reason."""

    name = "riboswitch-contracts"

    def __init__(
        self,
        is_contract: Callable[[object], bool],
        tests_of: Callable[[Any], Collection[str]],
        problem_of: Callable[[Any], str],
    ) -> None:
        self._is_contract, self._tests_of = is_contract, tests_of
        self._problem_of = problem_of
        self._said: dict[tuple[object, str], str] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Find exemptions of parameters that do not exist, before anything is deselected."""
        if any("[" in argument.partition("::")[2] for argument in config.args):
            return  # one parameter was asked for: the others were not collected
        groups: dict[tuple[object, str], list[pytest.Item]] = {}
        for item in items:
            if self._is_contract(kind := getattr(item, "cls", None)):
                groups.setdefault((kind, getattr(item, "originalname", item.name)), []).append(item)
        for (kind, test), found in groups.items():
            if problem := _unknown_parameter(kind, test, {item.name for item in found}):
                for item in found:
                    item.stash[WRONG] = problem

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        """Look at a test's object when all fixtures have run; what is wrong is said once."""
        if not self._is_watched(item):
            return
        if problem := self._problem_of(getattr(item, "instance", None)):
            first = self._said.setdefault((getattr(item, "cls", None), problem), item.nodeid)
            item.stash[WRONG if first == item.nodeid else SAID] = problem
            if first != item.nodeid:
                pytest.skip(f"{first} says what is wrong")
            pytest.fail(problem, pytrace=False)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Make a failure of a skip that nobody gave a reason for."""
        report = yield
        if self._is_watched(item) and (problem := _problem(item, report)):
            report.outcome, report.longrepr = "failed", problem
            vars(report).pop("wasxfail", None)
        return report

    def _is_watched(self, item: pytest.Item) -> bool:
        """Whether it is a test that a contract brings; an author's own are the author's."""
        kind = getattr(item, "cls", None)
        return self._is_contract(kind) and getattr(item, "originalname", "") in self._tests_of(kind)


def _unknown_parameter(kind: object, test: str, collected: Iterable[str]) -> str:
    named = {key for key in getattr(kind, "exempt", ()) if key.startswith(f"{test}[")}
    unknown = sorted(named - {*collected})
    have = ", ".join(sorted(name[len(test) :] for name in collected if name != test)) or "none"
    return f"exempt names {unknown[0]!r}; its parameters are: {have}" if unknown else ""


def _problem(item: pytest.Item, report: pytest.TestReport) -> str:
    if SAID in item.stash and report.skipped:
        return ""
    if hasattr(report, "wasxfail"):
        if problem := item.stash.get(WRONG, ""):
            return problem
        if EXPECTED in item.stash:
            return ""
        return "An expected failure of a contract's test is named in `exempt`, not marked."
    if not report.skipped:
        return ""
    reason = _reason(report)
    if report.when == "call":
        return (
            f"A contract's test does not skip itself ({reason}).\n"
            "Declare what cannot be done, or put the test into `exempt`."
        )
    if reason in _NO_REASON or reason.startswith("condition: "):
        return 'It is skipped without a reason. Give one: skipif(…, reason="no such device here")'
    return ""


def _reason(report: pytest.TestReport) -> str:
    longrepr = report.longrepr
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped").removeprefix(":").strip()
