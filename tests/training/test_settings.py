"""Learning rates over the steps."""

from __future__ import annotations

import math

import pytest
from attrs import evolve

from riboswitch.errors import UsageError
from riboswitch.registry import registry
from riboswitch.training.settings import Optimization

PLAIN = Optimization(peak=1.0, floor=0.1, warmup=10)


@pytest.mark.parametrize(
    ("schedule", "middle", "last"),
    [
        ("constant", 1.0, 1.0),
        ("linear", 0.55, 0.1),
        ("cosine", 0.55, 0.1),
        ("inverse-sqrt", math.sqrt(10 / 60), math.sqrt(10 / 110)),
    ],
)
def test_rates(schedule, middle, last):
    plan = evolve(PLAIN, schedule=schedule)
    assert plan.rate(1, 110) == pytest.approx(0.1)
    assert plan.rate(5, 110) == pytest.approx(0.5)
    assert plan.rate(10, 110) == pytest.approx(1.0)
    assert plan.rate(60, 110) == pytest.approx(middle)
    assert plan.rate(110, 110) == pytest.approx(last)


def test_a_share_of_all_steps_and_an_end_of_the_decay():
    assert evolve(PLAIN, warmup=0.5).rate(10, 40) == pytest.approx(0.5)
    short = evolve(PLAIN, decay=60)
    assert short.rate(35, 1000) == pytest.approx(0.55)
    assert short.rate(900, 1000) == pytest.approx(0.1)
    assert evolve(PLAIN, warmup=0).rate(1, 100) == pytest.approx(1.0, abs=0.02)


def test_cosine_is_not_linear():
    assert evolve(PLAIN, schedule="cosine").rate(35, 110) == pytest.approx(0.8682, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schedule", "cosin"),
        ("peak", -1),
        ("warmup", True),
        ("beta1", 1),
        ("dropout", 1.0),
        ("clip", "1"),
        ("decay", 0),
    ],
)
def test_what_cannot_be(name, value):
    with pytest.raises(UsageError, match=name if name != "schedule" else "There are: constant"):
        Optimization(**{name: value})


def test_each_family_has_its_paper_s():
    names = ("rnafm", "rinalmo-giga", "rinalmo-mega", "rnaernie")
    plans = {n: registry().model(n).pretraining for n in names}
    assert plans["rnafm"].optimization.rate(40_000, 10**6) == pytest.approx(5e-5)
    assert plans["rinalmo-giga"].optimization.rate(200_000, 10**6) == pytest.approx(1e-5)
    assert plans["rinalmo-giga"].optimization.rate(2_000, 10**6) == pytest.approx(5e-5)
    assert plans["rinalmo-mega"].optimization.rate(2_000, 10**6) == pytest.approx(1e-4)
    assert plans["rnaernie"].recipe == "rnaernie"
    assert plans["rnaernie"].optimization.rate(200, 10_000) == pytest.approx(1e-4)
