"""`riboswitch pretrain` as users run it: what it says, mistakes, a full disk."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import attrs
import pytest
from tests.training.runs import ONE_CORE

from riboswitch.cli import _parser, main
from riboswitch.cli.pretrain import _request
from riboswitch.training.corpus import Source
from riboswitch.training.request import Request

pytestmark = pytest.mark.stopped


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--recipe", "bertt"], 2, "Did you mean 'bert'?"),
        (["--model", "rnaerni"], 2, "Did you mean 'rnaernie'?"),
        (["--schedule", "cosin"], 2, "There are: constant, linear, cosine, inverse-sqrt."),
        (["--corpus", "none.fa"], 4, "none.fa cannot be read"),
        (["--types", "("], 2, "no regular expression"),
        (["--steps", "0"], 2, "steps is 0, and must be a whole number from 1."),
        (["--tokens", "0"], 2, "tokens is 0"),
        (["--workers", "0"], 2, "workers is 0"),
        (["--shown", "2"], 2, "shown is 2.0"),
        (["--epochs", "nan"], 2, "epochs is nan"),
        (["--epochs", "0"], 2, "epochs is 0.0"),
        (["--seed", str(2**64)], 2, "seed is 18446744073709551616"),
        (["--alpha", "inf"], 2, "alpha is inf"),
        (["--accumulate", str(10**20)], 2, "accumulate is 100000000000000000000, and must be a"),
        (["--lr", "1e38"], 2, "peak is 1e+38, and must be a number from 0 to below 1e+19"),
        (
            ["--schedule", "linear", "--lr-floor", "1"],
            2,
            "floor is 1.0, and above the peak of 0.003",
        ),
        (["--schedule", "constant", "--lr-floor", "1e-5"], 2, "a constant rate has none"),
        (["--decay", "0"], 2, "decay is 0, and must be a whole number from 1"),
        (["--weights", "released"], 2, "No weights of 'model' were ever released"),
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
def test_any_number_of_tokens_is_one_micro_batch(command, tmp_path):
    words = command("torch", tmp_path / "run", "--tokens", str(10**18), "--steps", "1")
    assert main(words) == 0


@pytest.mark.parametrize("model", ["ribotiny", "rinalmo-nano"])
def test_what_is_given_goes_before_the_plan(model):
    """A floor that is only the plan's is no reason to raise the rate."""
    words = ["pretrain", "--corpus", "a.fa", "-o", "run", "--model", model, "--lr", "1e-6"]
    plan = _request(_parser().parse_args([*words, "--decay", "50"])).optimization
    assert (plan.peak, plan.floor, plan.decay) == (1e-6, 1e-6, 50)
    plan = _request(_parser().parse_args([*words, "--schedule", "constant"])).optimization
    assert plan.rate(10**5, 10**5) == 1e-6


def asked(*more):
    words = ["pretrain", "--corpus", "a.fa", "-o", "run", "--model", "ribotiny", *more]
    return _request(_parser().parse_args(words))


def test_each_option_is_asked_for():
    """With another value than its default."""
    options = {
        "--held-out-most": 7,
        "--held-out-every": 3,
        "--log-every": 4,
        "--save-every": 5,
        "--workers": 2,
        "--tokens": 99,
        "--accumulate": 6,
        "--steps": 11,
        "--epochs": 1.5,
        "--longest": 77,
        "--alpha": 0.5,
        "--shown": 0.25,
        "--pool": "mean",
        "--weights": "a.pt",
        "--backend": "torch",
        "--device": "cpu",
        "--dtype": "bfloat16",
        "--seed": 8,
    }
    request, plain = asked(*[str(w) for pair in options.items() for w in pair]), asked()
    for option, value in options.items():
        name = option[2:].replace("-", "_")
        assert getattr(request, name) == value != getattr(plain, name)
    assert request.board and not asked("--no-tensorboard").board
    assert asked("--held-out", "0.5").source.held_out == 0.5
    plan = asked("--weight-decay", "0.3", "--dropout", "0.4", "--clip", "0").optimization
    assert (plan.weight_decay, plan.dropout, plan.clip) == (0.3, 0.4, 0)


def test_what_is_not_given_is_as_python_s_users_have_it():
    request = asked()
    have = {"entry", "output", "source", "recipe", "optimization"}
    fields = [field for field in attrs.fields(Request) if field.name not in have]
    assert all(getattr(request, field.name) == field.default for field in fields)
    assert request.source == Source(files=["a.fa"])


def test_its_help_says_what_each_option_is_and_its_default(capsys):
    with pytest.raises(SystemExit):
        main(["pretrain", "-h"])
    text = " ".join(capsys.readouterr().out.split())
    for flag, default in (
        ("--tokens N of a micro-batch", "16384"),
        ("--epochs N without --steps", "1"),
        ("--held-out SHARE share not trained on", "0.01"),
        ("--held-out-most N of these that a look takes", "10000"),
        ("--log-every N steps between two lines of the log", "10"),
        ("--held-out-every N steps between two looks at held-out sequences", "500"),
        ("--save-every N steps between two checkpoints", "500"),
        ("--weights W `random`, `released` or a checkpoint", "random"),
    ):
        assert f"{flag} (default: {default})" in text
    assert text.count("--longest L letters; more are cut (default: 1022 words)") == 1
    assert "--weight-decay X rate * X" in text and "--dropout SHARE of what each" in text
    (command,) = [a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction)]
    assert all(action.help for action in command.choices["pretrain"]._actions)


def test_the_page_names_each_option():
    (command,) = [a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction)]
    page = (Path(__file__).parents[2] / "docs" / "pretraining.md").read_text("utf-8")
    flags = {action.option_strings[0] for action in command.choices["pretrain"]._actions} - {"-h"}
    assert [f for f in sorted(flags) if not re.search(rf"(?<!-){f}\b(?!-)", page)] == []


def test_its_example_gives_all_processes_something_to_do(capsys):
    with pytest.raises(SystemExit):
        main(["pretrain", "-h"])
    example = " ".join(capsys.readouterr().out.split("torchrun")[1].replace("\\", "").split())
    processes = int(re.search(r"--nproc-per-node (\d+)", example)[1])
    found = re.search(r"--accumulate (\d+)", example)
    assert found and int(found[1]) % processes == 0


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
