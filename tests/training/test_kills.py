"""Runs that are killed, or stopped and gone on with by another number of processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.training.runs import ONE_CORE, launcher, lines_of, losses

from riboswitch.cli import main

pytestmark = pytest.mark.stopped


@pytest.mark.parametrize("kills", [2])
def test_kill_minus_nine(command, trainer, tmp_path, kills):
    whole = [sys.executable, "-m", "riboswitch", *command(trainer, tmp_path / "whole", "--json")]
    done = subprocess.run(whole, env=ONE_CORE, capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout)
    assert summary["steps"] == 12 and Path(summary["model"]).is_dir()
    words = [sys.executable, "-m", "riboswitch", *command(trainer, tmp_path / "killed")]
    for kill in range(kills):
        process = subprocess.Popen(words, env=ONE_CORE)
        until = time.monotonic() + 60
        while lines_of(tmp_path / "killed" / "log.jsonl") < 3 + 4 * kill:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(words, env=ONE_CORE, check=True)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    files = [tmp_path / name / "model" / "model.safetensors" for name in ("killed", "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("before", [1, 2])
def test_another_number_of_processes_goes_on(command, trainer, tmp_path, before):
    """One where two were stopped, or two where one was."""
    if trainer == "torch":
        pytest.importorskip("lightning_fabric", reason="the extra `distributed`")
    assert main(command(trainer, tmp_path / "one")) == 0
    words = command(trainer, tmp_path / "two")
    calls = {
        1: [sys.executable, "-m", "riboswitch", *words],
        2: [*launcher(trainer, tmp_path), *words],
    }
    quiet = {"env": ONE_CORE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(calls[before], **quiet)
    until = time.monotonic() + 90
    while lines_of(tmp_path / "two" / "log.jsonl") < 5:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert lines_of(tmp_path / "two" / "log.jsonl") < 14
    subprocess.run(calls[3 - before], **quiet, check=True, timeout=120)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert [place for *place, _ in one] == [place for *place, _ in two]
    np.testing.assert_allclose([x[2] for x in one], [x[2] for x in two], rtol=1e-5)
