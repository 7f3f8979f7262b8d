"""Broken learners fail the contract: PyTorch's, with one mistake each."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from tests.contract.learner_mutants import (
    ADAMW,
    ALONE,
    BACKBONE,
    CLIPPED,
    MUTANTS,
    RESTORED,
    ROW,
    SEED,
    SEVERAL,
    SHARE,
    Broken,
    Sound,
    by_hand,
)

from riboswitch.registry import registry
from riboswitch.testing import LearnerContract

pytestmark = [pytest.mark.backend("torch"), pytest.mark.slow]


class TestBroken(LearnerContract):
    __test__ = False
    backend = "broken"


@pytest.fixture
def announce(install):
    def add(parts: dict[str, Any], **changes: Any) -> TestBroken:
        backend = type("Other", (Broken,), {"kind": type("Mutant", (Sound,), parts), **changes})
        entry = evolve(registry().backends["torch"], name="broken", load=backend)
        install(riboswitch_backends=lambda: [entry])
        return TestBroken()

    return add


def run(contract: TestBroken, test: str, parameter: Any) -> None:
    wants = "parametrize" in {m.name for m in getattr(getattr(contract, test), "pytestmark", ())}
    getattr(contract, test)(*([parameter] if wants else []))


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_one_fails(announce, mutant):
    parts, test, parameter = MUTANTS[mutant]
    with pytest.raises((AssertionError, ValueError)):
        run(announce(parts), f"test_{test}", parameter)


@pytest.mark.parametrize(("test", "parameter"), [(ADAMW, None), (SEVERAL, 1.0), (CLIPPED, 0.9)])
def test_what_is_written_out_by_hand_passes(announce, test, parameter):
    run(announce(by_hand()), f"test_{test}", parameter)


@pytest.mark.parametrize("test", [ROW, SEED, RESTORED, BACKBONE, ALONE, SHARE])
def test_the_sound_one_passes(announce, test):
    run(announce({}), f"test_{test}", None)


def test_one_that_does_not_say_that_it_trains_fails(announce, plant):
    contract = announce({})
    contract.test_it_is_announced_as_one_that_trains()
    plant(evolve(registry().backends["broken"], trains=False))
    with pytest.raises(AssertionError, match="does not say that it trains"):
        contract.test_it_is_announced_as_one_that_trains()


def test_one_process_of_several_fails(announce):
    with pytest.raises(AssertionError):
        announce({}, number=(1, 2)).test_one_process_is_alone()


def test_every_test_has_a_mutant():
    tests = {name for name in dir(LearnerContract) if name.startswith("test_")}
    elsewhere = {"test_it_is_announced_as_one_that_trains"}
    assert {f"test_{test}" for _, test, _ in MUTANTS.values()} == tests - elsewhere
