"""Two processes train as one."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from tests.training.runs import ONE_CORE, launcher, losses

from riboswitch.cli import main

pytestmark = pytest.mark.stopped


@pytest.mark.parametrize("accumulate", [1, 3])
def test_two_processes_train_as_one(command, trainer, tmp_path, accumulate):
    """Of one micro-batch, or of three, one of them has nothing to do now and then."""
    if trainer == "torch":
        pytest.importorskip("lightning_fabric", reason="the extra `distributed`")
    more = ("--accumulate", str(accumulate), "--json")
    assert main(command(trainer, tmp_path / "one", *more)) == 0
    words = [*launcher(trainer, tmp_path), *command(trainer, tmp_path / "two", *more)]
    done = subprocess.run(words, env=ONE_CORE, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    if trainer == "torch":  # Paddle's launcher keeps what processes print
        (summary,) = [json.loads(line) for line in done.stdout.splitlines() if line[:1] == "{"]
        assert summary["steps"] == 12
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert [place for *place, _ in one] == [place for *place, _ in two]
    np.testing.assert_allclose([x[2] for x in one], [x[2] for x in two], rtol=1e-5)
