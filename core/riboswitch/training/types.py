"""`Types`: the types of RNA that headers name, while a corpus is packed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches

from riboswitch.errors import UsageError
from riboswitch.training.corpus import NO_TYPE

_KEPT = 1000  # of unknown names; an expression may find another one in each header
_SHOWN = 5


class Types:
    """Finds types in headers, and keeps those that the model does not know until all are seen.

    Attributes:
        names: Those that were found, as the model writes them, and the number of each.
    """

    def __init__(self, pattern: re.Pattern[str] | None, known: Sequence[str]) -> None:
        self.pattern, self.known = pattern, known
        self.names: dict[str, int] = {}
        plain = Counter(_plain(name) for name in known)
        self._spelt = {_plain(name): name for name in known if plain[_plain(name)] == 1}
        self._unknown: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._others = 0

    def find(self, header: str, file: str) -> int:
        """The number of the type that a header names, or `NO_TYPE`."""
        found = self.pattern.search(header) if self.pattern else None
        if found is None or found[1] is None:
            return NO_TYPE
        name = found[1] if found[1] in self.known else self._spelt.get(_plain(found[1]))
        if name is None:
            self._keep(found[1], file)
            return NO_TYPE
        return self.names.setdefault(name, len(self.names))

    def check(self) -> None:
        """Raise `UsageError` where headers named no type, or one that the model does not know."""
        if self._unknown:
            raise UsageError(self._problem())
        if self.pattern and not self.names:
            raise UsageError(
                f"no header has a type: {self.pattern.pattern!r} is found in none of them.\n"
                "Mend the expression, or leave it out."
            )

    def _keep(self, name: str, file: str) -> None:
        if name not in self._unknown and len(self._unknown) == _KEPT:
            self._others += 1
            return
        self._unknown[name] += 1
        self._first.setdefault(name, file)

    def _problem(self) -> str:
        total = self._unknown.total() + self._others
        shown = "; ".join(self._line(*pair) for pair in self._unknown.most_common(_SHOWN))
        more = len(self._unknown) - _SHOWN
        rest = f"; and {'at least ' if self._others else ''}{more} others" if more > 0 else ""
        have = ", ".join(self.known) or "none"
        return (
            f"{total} records have a type that is none of the model's: {shown}{rest}.\n"
            f"Mend --types so that it finds these alone, or nothing: {have}."
        )

    def _line(self, name: str, count: int) -> str:
        near = get_close_matches(name, self.known, 1, 0.5)
        hint = f", did you mean {near[0]!r}?" if near else ""
        return f"{name[:60]!a}: {count}, first in {self._first[name]}{hint}"


def _plain(name: str) -> str:
    """RNAcentral's names have underscores, which RNAErnie's authors removed."""
    return name.replace("_", "")
