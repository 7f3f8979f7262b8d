"""`riboswitch pretrain` as users run it: kills, several processes, mistakes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import sysconfig
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from tests.training.conftest import random_rna

from riboswitch.cli import main
from riboswitch.training.log import read_log

MODEL = """
like: rnaernie
architecture: {num_layers: 1, hidden_size: 16, num_heads: 2, feed_forward_size: 24}
optimization: {peak: 0.003, warmup: 2, dropout: 0.1}
"""
ONE_CORE = {**os.environ, "OMP_NUM_THREADS": "1"}


def launcher(trainer: str, folder: Path) -> list[str]:
    """Start the command line in two processes."""
    words = {
        "torch": ["torch.distributed.run", "--nproc-per-node", "2", "-m", "riboswitch"],
        "paddle": [
            *("paddle.distributed.launch", "--nproc_per_node", "2"),
            *("--log_dir", str(folder / "log")),
            str(Path(sysconfig.get_path("scripts")) / "riboswitch"),
        ],
    }
    return [sys.executable, "-m", *words[trainer]]


@pytest.fixture
def command(tmp_path, fasta):
    """Arguments of a run: command(backend, output, *more)."""
    (tmp_path / "model.yaml").write_text(MODEL)
    path = fasta("corpus.fa.gz", random_rna(60), types=["tRNA", "miRNA"] * 30)
    fixed = "--steps 12 --tokens 400 --accumulate 3 --held-out 0.1 --log-every 1 --save-every 2"
    fixed += f" --model {tmp_path / 'model.yaml'} --corpus {path} --types of\\s(.+)"

    def make(backend, output, *more):
        words = ["pretrain", *fixed.split(), "--backend", backend, "--device", "cpu"]
        return [*words, "-o", str(output), "--held-out-every", "6", "--quiet", *more]

    return make


def losses(folder: Path):
    return [(line["kind"], line["step"], line["loss"]) for line in read_log(folder / "log.jsonl")]


def lines_of(path: Path) -> int:
    return path.read_text().count("\n") if path.is_file() else 0


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


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--recipe", "bertt"], 2, "Did you mean 'bert'?"),
        (["--model", "rnaerni"], 2, "Did you mean 'rnaernie'?"),
        (["--schedule", "cosin"], 2, "There are: constant, linear, cosine, inverse-sqrt."),
        (["--corpus", "none.fa"], 4, "none.fa cannot be read"),
        (["--types", "("], 2, "no regular expression"),
        (["--steps", "0"], 2, "steps is 0, and must be at least 1"),
        (["--tokens", "0"], 2, "tokens is 0"),
        (["--workers", "0"], 2, "workers is 0"),
        (["--shown", "2"], 2, "shown is 2.0"),
        (["--epochs", "nan"], 2, "epochs is nan"),
        (["--epochs", "0"], 2, "epochs is 0.0"),
        (["--seed", str(2**64)], 2, "seed is 18446744073709551616"),
        (["--alpha", "inf"], 2, "alpha is inf"),
        (["--backend", "numpy"], 2, "computes and does not train"),
    ],
)
@pytest.mark.backend("torch")
def test_mistakes(command, tmp_path, capsys, more, code, message):
    words = command("torch", tmp_path / "run")
    assert main([*words, *more]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.backend("torch")
def test_what_it_says(command, tmp_path, capsys):
    words = [word for word in command("torch", tmp_path / "run") if word != "--quiet"]
    assert main(words) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("riboswitch: step 1 of 12, loss ")
    assert told[-1].startswith("riboswitch: 12 steps in ") and "held out: loss" in told[-1]
    assert str(tmp_path / "run" / "model") in told[-1]
    assert "\x1b" not in "".join(told)
    assert main(words) == 0  # a run that is at its end says so again
    assert "12 steps" in capsys.readouterr().err


@pytest.mark.backend("torch")
def test_a_bar_on_a_terminal(command, tmp_path):
    words = [word for word in command("torch", tmp_path / "run") if word != "--quiet"]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    with subprocess.Popen([sys.executable, "-m", "riboswitch", *words], stderr=theirs) as run:
        os.close(theirs)
        told = b""
        with contextlib.suppress(OSError):  # the terminal's end
            while block := os.read(ours, 4096):
                told += block
    os.close(ours)
    text = told.decode()
    assert run.returncode == 0, text
    bars = re.findall(r"(\d+)%\|.*?(\d+\.?\d*)/12\.?0? .*?steps/s, loss (\d+\.\d+)", text)
    assert bars and bars[-1][0] == "100", text
    assert "riboswitch: step" not in text and "riboswitch: 12 steps in" in text


@pytest.mark.backend("torch")
def test_a_full_disk(command, tmp_path):
    """A file may have so many bytes: the system says it as it says that a disk is full."""
    words = [sys.executable, "-m", "riboswitch", *command("torch", tmp_path / "run")]
    subprocess.run(words, env=ONE_CORE, check=True)
    folder = tmp_path / "run" / "checkpoints" / "step-000000012"
    sizes = {p.name: p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    most = sizes["adamw.safetensors"] // 512 - 1
    assert sizes["model.safetensors"] < most * 512
    other = [word.replace(str(tmp_path / "run"), str(tmp_path / "full")) for word in words]
    limited = ["sh", "-c", f'ulimit -f {most}; exec "$@"', "sh", *other, "--no-tensorboard"]
    done = subprocess.run(limited, env=ONE_CORE, capture_output=True, text=True)
    assert done.returncode == 5, done.stderr
    assert "cannot be written: File too large" in done.stderr and "Traceback" not in done.stderr
    left = [p.name for p in (tmp_path / "full").rglob("*") if "step-" in p.name or "tmp" in p.name]
    assert left == []
    modes = {p.stat().st_mode & 0o777 for p in folder.iterdir() if p.is_file()}
    assert len(modes) == 1


@pytest.mark.backend("torch")
def test_a_model_of_one_s_own_keeps_its_name(command, tmp_path, capsys):
    assert main(command("torch", tmp_path / "run")) == 0
    (tmp_path / "in.fa").write_text(">a\nGGGAAACCC\n")
    weights, output = str(tmp_path / "run" / "model"), str(tmp_path / "out.npz")
    words = ["embed", str(tmp_path / "in.fa"), "-o", output, "--pool", "mean", "--weights", weights]
    assert main(words) == 0
    assert " by model on " in capsys.readouterr().err  # model.yaml
