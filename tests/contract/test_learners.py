"""Our own backends that train keep the contract that we ask of others."""

from __future__ import annotations

import pytest

from riboswitch.testing import LearnerContract
from riboswitch.testing.check import contract_of, kinds_of


@pytest.mark.backend("torch")
class TestTorch(LearnerContract):
    backend = "torch"


@pytest.mark.backend("paddle")
class TestPaddle(LearnerContract):
    backend = "paddle"


@pytest.mark.backend("torch")
def test_the_command_line_runs_it_for_backends_that_train():
    assert kinds_of("backend", "numpy") == ("backend",)
    assert kinds_of("backend", "torch") == ("backend", "learner")
    made = contract_of("learner", "torch")
    assert issubclass(made, LearnerContract)
    assert (made.backend, made.device) == ("torch", "cpu")
