"""Two processes train as one."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
from tests.training.runs import ONE_CORE, launcher, losses

from riboswitch.cli import main

pytestmark = pytest.mark.stopped


def in_two(trainer, tmp_path, words) -> subprocess.CompletedProcess[str]:
    words = [*launcher(trainer, tmp_path), *words]
    return subprocess.run(words, env=ONE_CORE, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_two_processes_train_as_one(command, trainer, tmp_path, accumulate):
    """Of one micro-batch, or of three, one of them has nothing to do now and then."""
    if trainer == "torch":
        pytest.importorskip("lightning_fabric", reason="the extra `distributed`")
    more = ("--accumulate", str(accumulate), "--json")
    assert main(command(trainer, tmp_path / "one", *more)) == 0
    done = in_two(trainer, tmp_path, command(trainer, tmp_path / "two", *more))
    assert done.returncode == 0, done.stderr
    if trainer == "torch":  # Paddle's launcher keeps what processes print
        (summary,) = [json.loads(line) for line in done.stdout.splitlines() if line[:1] == "{"]
        assert summary["steps"] == 12
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert [place for *place, _ in one] == [place for *place, _ in two]
    np.testing.assert_allclose([x[2] for x in one], [x[2] for x in two], rtol=1e-5)


@pytest.mark.backend("torch")
def test_what_the_first_process_refuses_ends_the_others_with_a_word(command, tmp_path):
    """It alone compares what the corpus was packed from."""
    pytest.importorskip("lightning_fabric", reason="the extra `distributed`")
    words = command("torch", tmp_path / "run")
    assert main([*words, "--steps", "1"]) == 0
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    data = bytearray((tmp_path / "corpus.fa.gz").read_bytes())
    data[4] ^= 1  # the time in it, and not its size
    (tmp_path / "corpus.fa.gz").write_bytes(data)
    done = in_two("torch", tmp_path, words)
    assert done.returncode != 0
    assert "was packed from another" in done.stderr
    assert "the first process ended with an error, which it tells." in done.stderr
    assert "riboswitch/training" not in done.stderr  # the launcher has a traceback of its own
