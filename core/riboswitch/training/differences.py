"""Where two things that should be the same differ, by name."""

from __future__ import annotations

from typing import Any


def first_difference(have: Any, want: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """Compare mappings and lists within one another, as JSON has them.

    Returns:
        The dotted name of the first thing that differs, what it is and what it should be; None
        when all is the same. What one side lacks is None there.
    """
    if isinstance(have, dict) and isinstance(want, dict):
        for key in dict.fromkeys([*want, *have]):
            inner = f"{name}.{key}" if name else str(key)
            if found := first_difference(have.get(key), want.get(key), inner):
                return found
        return None
    if isinstance(have, list) and isinstance(want, list) and len(have) == len(want):
        for i, pair in enumerate(zip(have, want, strict=True), 1):
            if found := first_difference(*pair, f"{name} {i}"):
                return found
        return None
    return None if have == want else (name, have, want)
