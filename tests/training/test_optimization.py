"""Learning rates over the steps."""

from __future__ import annotations

import math

import pytest
from attrs import evolve

from riboswitch.errors import UsageError
from riboswitch.optimization import Optimization
from riboswitch.registry import registry

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
    plan = evolve(PLAIN, schedule=schedule, floor=0.0 if schedule == "constant" else 0.1)
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
        ("decay", 2.5),
        ("peak", 1e19),
        ("peak", 10**400),
    ],
)
def test_what_cannot_be(name, value):
    with pytest.raises(UsageError, match=name if name != "schedule" else "There are: constant"):
        Optimization(**{name: value})


def test_a_floor_is_not_above_the_peak_and_a_constant_rate_has_none():
    with pytest.raises(
        UsageError, match=r"floor is 2\.0, and above the peak of 1\.0.*\n.*--lr-floor"
    ):
        evolve(PLAIN, floor=2.0)
    with pytest.raises(UsageError, match=r"floor is 0\.1, and a constant rate has none"):
        evolve(PLAIN, schedule="constant")


def test_what_is_given_goes_before_the_plan():
    plan = Optimization(schedule="cosine", peak=1e-4, floor=1e-5, warmup=2)
    low = plan.changed(peak=1e-6)
    assert (low.peak, low.floor) == (1e-6, 1e-6)
    assert all(low.rate(step, 50) <= 1e-6 for step in range(1, 51))
    assert plan.changed(schedule="constant").floor == 0
    assert plan.changed(peak=1e-3).floor == plan.floor
    for given in ({"peak": 1e-6, "floor": 1e-5}, {"floor": 1e-3}):
        with pytest.raises(UsageError, match="above the peak"):
            plan.changed(**given)
    with pytest.raises(UsageError, match="a constant rate has none"):
        plan.changed(schedule="constant", floor=1e-5)
    with pytest.raises(UsageError, match="the schedule constant has no such end"):
        plan.changed(schedule="constant", decay=5)
    assert evolve(plan, decay=5).changed(schedule="constant").rate(5, 9) == 1e-4
    with pytest.raises(UsageError, match="peak is 'fast'"):
        plan.changed(peak="fast")


def test_the_inverse_square_root_keeps_to_its_floor():
    plan = evolve(PLAIN, schedule="inverse-sqrt", floor=0.5)
    assert plan.rate(20, 1000) == pytest.approx(math.sqrt(0.5))
    assert plan.rate(1000, 1000) == 0.5


def test_a_decay_that_ends_far_beyond_the_run_is_told():
    plan = evolve(PLAIN, schedule="cosine", decay=1000)
    assert "decays until step 1000, and the run has 200: it ends at 0.92" in plan.surprise(200)
    assert plan.surprise(200).endswith("Give an earlier end: --decay 200.")
    assert plan.surprise(900) is None and evolve(PLAIN, decay=None).surprise(200) is None
    assert "warms up for 10 steps, and the run has 9" in plan.surprise(9)


def test_a_decay_may_be_written_as_yaml_writes_large_numbers():
    assert evolve(PLAIN, decay=2.0e5).decay == 200_000


def test_each_family_has_its_paper_s():
    names = ("rnafm", "rinalmo-giga", "rinalmo-mega", "rnaernie")
    plans = {n: registry().model(n).pretraining for n in names}
    assert plans["rnafm"].optimization.rate(40_000, 10**6) == pytest.approx(5e-5)
    assert plans["rinalmo-giga"].optimization.rate(200_000, 10**6) == pytest.approx(1e-5)
    assert plans["rinalmo-giga"].optimization.rate(2_000, 10**6) == pytest.approx(5e-5)
    assert plans["rinalmo-mega"].optimization.rate(2_000, 10**6) == pytest.approx(1e-4)
    assert plans["rnaernie"].recipe == "rnaernie"
    assert plans["rnaernie"].optimization.rate(200, 10_000) == pytest.approx(1e-4)
