"""What a run is: nothing that its numbers depend on may be forgotten."""

from __future__ import annotations

import json

import attrs
import pytest

from riboswitch.errors import UsageError
from riboswitch.training.identity import identity, last_of
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


def unmarked(folder, said, **plan):
    """A checkpoint of before plans were marked."""
    said = {name: value for name, value in said.items() if name != "plan"}
    said["optimization"] = {**said["optimization"], **plan}
    (folder / "checkpoints" / "step-000000003").mkdir(parents=True)
    state = folder / "checkpoints" / "step-000000003" / "state.json"
    state.write_text(json.dumps({"steps": 3, "run": said}))


@pytest.mark.parametrize("floor", [0.0, 1e-5])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "inverse-sqrt"])
def test_a_plan_of_before_goes_on_unless_its_rate_would_be_another(request_for, schedule, floor):
    plan = attrs.evolve(request_for("torch").optimization, schedule=schedule, floor=floor)
    request = request_for("torch", optimization=plan)
    said = identity(request, 508)
    unmarked(request.output, said)
    if schedule == "inverse-sqrt" and floor:
        with pytest.raises(UsageError, match=r"went below its floor of 1e-05; .*\n.* folder: -o\."):
            last_of(request.output, said)
    else:
        assert last_of(request.output, said).steps == 3


def test_a_plan_that_means_something_else_is_refused(request_for):
    request = request_for("torch")
    said = identity(request, 508)
    unmarked(request.output, said)
    with pytest.raises(UsageError, match="its plan is 2, and here it is 3"):
        last_of(request.output, {**said, "plan": 3})
