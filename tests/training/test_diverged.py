"""A run that diverges ends with an error, and leaves no model that knows nothing."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve

from riboswitch.cli import main
from riboswitch.errors import StoreError, TrainingError
from riboswitch.registry import registry
from riboswitch.training import looking
from riboswitch.training import pretrain as room
from riboswitch.training.checkpoint import newest, save_model
from riboswitch.training.initial import initial_weights
from riboswitch.training.log import Log, read_log
from riboswitch.training.pretrain import pretrain
from riboswitch.training.together import together
from riboswitch.weights import LazyWeights, finite, random_weights


def far(request, **changes):
    """At so high a rate one step is enough, and its own loss is still one."""
    plan = evolve(request.optimization, schedule="constant", peak=9e18, clip=None, warmup=0)
    return evolve(request, optimization=plan, steps=1, **changes)


def test_a_last_step_that_diverges(request_for, trainer):
    """The weights are finite still; what they predict is not."""
    request = far(request_for(trainer))
    for _ in range(2):  # the same command says so again
        with pytest.raises(
            TrainingError,
            match=r"held-out sequences is nan after step 1\.\nTake a",
        ):
            pretrain(request)
        assert not (request.output / "model").exists()
    lines = read_log(request.output / "log.jsonl")
    assert [line["kind"] for line in lines] == ["train"]


@pytest.mark.parametrize("save_every", [2, 99])
def test_weights_that_are_none_are_not_written(request_for, trainer, monkeypatch, save_every):
    request = request_for(trainer, steps=4, save_every=save_every, held_out_every=99)
    backend = registry().backend(trainer)
    learner = type(backend).learner

    def spoilt(self, *arguments, **named):
        made = learner(self, *arguments, **named)
        step, done = made.step, []

        def stepped(rate):
            norm = step(rate)
            done.append(norm)
            if len(done) == 4:
                weights = made.backbone.canonical()
                name = "lm_head.decoder.bias"
                bad = LazyWeights(
                    weights, lambda n: weights[n] * (np.nan if n == name else np.float32(1))
                )
                made.backbone.canonical = lambda: bad
            return norm

        made.step = stepped
        return made

    monkeypatch.setattr(type(backend), "learner", spoilt)
    with pytest.raises(
        TrainingError, match=r"not finite any more: lm_head\.decoder\.bias.*\n.*-o\."
    ):
        pretrain(request)
    saved = newest(request.output / "checkpoints")
    assert (saved.steps if saved else None) == (2 if save_every == 2 else None)
    assert not (request.output / "model").exists()
    assert not [*request.output.rglob("*.tmp")]


def test_a_model_that_is_none_is_not_written(tmp_path):
    entry = registry().model("ribotiny")
    weights = random_weights(entry.architecture, 0)
    bad = LazyWeights(weights, lambda n: weights[n] / np.float32(0 if "bias" not in n else 1))
    with np.errstate(divide="ignore"), pytest.raises(TrainingError, match=r"embedding\.tokens has"):
        save_model(entry, bad, tmp_path / "model")
    assert [*tmp_path.iterdir()] == []


def test_sums_that_leave_float32_are_of_finite_numbers_still():
    assert finite(np.full(9, 3e38, np.float32))
    assert not finite(np.array([np.inf, -np.inf]))
    assert not finite(np.array([0, np.nan], np.float32))


class Others:
    """A learner beside which another process stands, which failed so many times."""

    def __init__(self, failed: int) -> None:
        self.failed = failed

    def total(self, numbers):
        self.told = numbers
        return numbers + self.failed


def test_processes_tell_each_other_that_one_failed():
    alone, beside = Others(0), Others(1)
    with together(alone):
        pass
    assert not alone.told.any()
    with pytest.raises(OSError, match="mine"), together(beside):
        raise OSError("mine")
    assert beside.told.all()
    told = pytest.raises(TrainingError, match=r"the first process ended with.*\nSee its output\.")
    with told, together(beside):
        pass
    assert not beside.told.any()


@pytest.mark.parametrize("name", ["told", "Log", "Log.write", "save_checkpoint", "save_model"])
@pytest.mark.backend("torch")
def test_what_the_first_process_does_alone_is_told_where_it_fails(
    request_for, tmp_path, monkeypatch, name
):
    request = request_for("torch", weights=str(tmp_path / "model"))
    drawn = initial_weights(request.entry.architecture, 0, "normal")
    save_model(request.entry, drawn, tmp_path / "model")
    told = []

    def fails(*_: object, **__: object) -> None:
        raise StoreError("full")

    @contextmanager
    def recorded(learner):
        try:
            with together(learner):
                yield
        except StoreError as error:
            told.append(str(error))
            raise

    monkeypatch.setattr(room, "together", recorded)
    monkeypatch.setattr(f"riboswitch.training.pretrain.{name}", fails)
    with pytest.raises(StoreError, match="full"):
        pretrain(request)
    assert told == ["full"]


@pytest.mark.backend("torch")
def test_a_look_that_an_older_run_wrote_as_nan_is_made_again(request_for, monkeypatch):
    request = request_for("torch", steps=1)
    first = pretrain(request)
    log = request.output / "log.jsonl"
    text = log.read_text()
    log.write_text(text.replace(f'"loss": {first.held_out["loss"]!r}', '"loss": NaN'))
    assert read_log(log)[-1]["loss"] is None
    assert pretrain(request).held_out == first.held_out
    log.write_text(text.replace(f'"loss": {first.held_out["loss"]!r}', '"loss": NaN'))
    monkeypatch.setattr(looking.math, "isfinite", lambda _: False)
    with pytest.raises(TrainingError, match="and begin anew in another folder"):
        pretrain(request)


def test_logs_and_summaries_are_json(tmp_path):
    with Log(tmp_path, 0, board=False) as log, pytest.raises(ValueError, match="JSON"):
        log.write("train", {"step": 1, "loss": float("nan")})
    assert read_log(tmp_path / "log.jsonl") == []


@pytest.mark.backend("torch")
def test_the_command_ends_with_an_error(command, tmp_path, capsys):
    more = ("--lr", "9e18", "--warmup", "0", "--clip", "0", "--steps", "1", "--json")
    words = command("torch", tmp_path / "run", *more, "--schedule", "constant", "--dropout", "0")
    assert main(words) == 4
    told = capsys.readouterr()
    assert "begin anew" in told.err and told.out == ""
    for line in Path(tmp_path / "run" / "log.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
