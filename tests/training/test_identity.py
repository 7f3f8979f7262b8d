"""What a run is: nothing that its numbers depend on may be forgotten."""

from __future__ import annotations

import attrs
import pytest

from riboswitch.training.identity import identity
from riboswitch.training.request import Request

INDIFFERENT = {
    "output",  # a run may be moved
    "backend",  # another framework may go on with it
    "device",
    "workers",
    "log_every",
    "held_out_every",
    "held_out_most",
    "save_every",
    "board",
}
"""What may change from one call to the next, since nothing that is learned depends on it."""
ELSEWHERE = {"entry": ("model", "architecture", "initial"), "source": ("held_out",)}
"""Fields of which parts stand in the identity; the rest of a source is in the corpus's hash."""


def test_each_field_is_in_the_identity_or_known_not_to_matter(request_for):
    said = set(identity(request_for("torch"), 508))
    fields = {field.name for field in attrs.fields(Request)}
    missing = fields - said - INDIFFERENT - set(ELSEWHERE)
    assert not missing, f"say whether {missing} matter: in identity.py, or here"
    assert fields >= INDIFFERENT | set(ELSEWHERE)
    assert not said & INDIFFERENT
    assert all(said >= set(parts) for parts in ELSEWHERE.values())


@pytest.mark.parametrize("name", sorted(INDIFFERENT - {"output"}))
def test_what_is_indifferent_changes_nothing(request_for, name):
    other = {"backend": "paddle", "device": "cuda", "board": True}.get(name, 7)
    one, two = request_for("torch"), request_for("torch")
    two = attrs.evolve(two, **{name: other})
    assert getattr(one, name) != getattr(two, name)
    assert identity(one, 508) == identity(two, 508)
