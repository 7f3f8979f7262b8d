"""What the fields of our classes are checked for, and how it is said: once, for all of them."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
from attrs import Attribute, validators

from riboswitch.errors import UsageError

Check: TypeAlias = Callable[[object, "Attribute[Any]", Any], None]
"""A validator of attrs: the object, the field, and its value."""

MOST = 1 << 20
"""Of anything that is counted in a model; more is a mistake, and would take for ever."""
LARGEST = 2**63 - 1
"""The largest number of 64 bits with a sign."""


def whole(lowest: int, highest: int = LARGEST) -> Check:
    """A whole number; not 2.0, not True."""

    def check(_: object, attribute: Attribute[Any], value: Any) -> None:
        if type(value) is not int or not lowest <= value <= highest:
            told = highest != LARGEST or (type(value) is int and value > highest)
            most = f" to {highest}" if told else ""
            raise refused(attribute.name, value, f"a whole number from {lowest}{most}")

    return check


def number(lowest: float, below: float = math.inf, *, above: bool = False) -> Check:
    """A finite number, whole or not, from `lowest`, or `above` it, to below another one."""
    wanted = f"a number {'above' if above else 'from'} {lowest:g}"
    wanted += "" if below == math.inf else f" to below {below:g}"

    def check(_: object, attribute: Attribute[Any], value: Any) -> None:
        fits = is_number(value) and lowest <= value < below
        if not fits or (above and value == lowest):
            raise refused(attribute.name, value, wanted)

    return check


def optional(check: Check) -> Check:
    """None, or what another check lets pass."""
    return validators.optional(check)


def share(_: object, attribute: Attribute[Any], value: Any) -> None:
    """A number from 0 to 1."""
    if not is_number(value) or not 0 <= value <= 1:
        raise refused(attribute.name, value, "a number from 0 to 1")


def flag(_: object, attribute: Attribute[Any], value: Any) -> None:
    """True or false, and no 1 or 0."""
    if type(value) is not bool:
        raise refused(attribute.name, value, "true or false")


def text(_: object, attribute: Attribute[Any], value: Any) -> None:
    """A text."""
    if not isinstance(value, str):
        raise refused(attribute.name, value, "a text")


def instance(kind: type[Any], cure: str) -> Check:
    """An object of one of our classes; what it stands for, such as a name, is none."""

    def check(_: object, attribute: Attribute[Any], value: Any) -> None:
        if not isinstance(value, kind):
            said = refused(attribute.name, value, f"of the class {kind.__name__}")
            raise UsageError(f"{said}\n{cure}")

    return check


def one_of(*names: str, what: str | None = None) -> Check:
    """One of some names.

    Args:
        names: Which.
        what: What they are names of; the field's own unless given.
    """

    def check(_: object, attribute: Attribute[Any], value: Any) -> None:
        if not isinstance(value, str) or value not in names:
            kind = what or attribute.name
            raise UsageError(f"no {kind} {shown(value)}.\nThere are: {', '.join(names)}.")

    return check


def listed(value: Any) -> Any:
    """Make a tuple of texts and paths; one alone stays what it is, for `strings` to refuse."""
    if isinstance(value, (str, os.PathLike)) or not isinstance(value, Iterable):
        return value
    return tuple(spelt(v) for v in value)


def spelt(value: Any) -> Any:
    """A path as a text; anything else stays what it is."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def plain(value: Any) -> Any:
    """A number of NumPy's as Python's own, which JSON takes; anything else stays what it is."""
    return value.item() if isinstance(value, np.generic) else value


def plain_numbers(_: type[Any], fields: list[Attribute[Any]]) -> list[Attribute[Any]]:
    """For `field_transformer`: take NumPy's numbers in all fields without another converter."""
    return [field if field.converter else field.evolve(converter=plain) for field in fields]


def strings(_: object, attribute: Attribute[Any], value: Any) -> None:
    """A tuple of texts, which `listed` makes; one text is none, though it has letters."""
    if not isinstance(value, tuple) or not all(isinstance(v, str) for v in value):
        raise refused(attribute.name, value, "a list of texts")


def is_number(value: Any) -> bool:
    """Whether something is a finite number, and a float can hold it."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return known and -sys.float_info.max <= value <= sys.float_info.max


def refused(name: str, value: Any, wanted: str) -> UsageError:
    """The error that says what a value is, and what it must be."""
    return UsageError(f"{name} is {shown(value)}, and must be {wanted}.")


def shown(value: Any) -> str:
    """A value as Python writes it, cut where it is long; some whole numbers it does not write."""
    try:
        return f"{value!r:.200}"
    except ValueError:
        return "a number of thousands of digits"
