"""A run that is stopped, starved or damaged goes on to the same numbers, or says why not."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pytest
from attrs import evolve
from tests.training.runs import losses, weights

from riboswitch import load
from riboswitch.errors import ResourceError, SequenceError, StoreError, UsageError
from riboswitch.masking import recipe
from riboswitch.optimization import Optimization
from riboswitch.training import pretrain as room
from riboswitch.training.checkpoint import newest
from riboswitch.training.identity import identity, last_of
from riboswitch.training.log import read_log
from riboswitch.training.placing import placed
from riboswitch.training.pretrain import pretrain
from riboswitch.training.running import running
from riboswitch.training.stop import Stop

pytestmark = pytest.mark.stopped


def test_a_run_that_is_stopped_goes_on_to_the_same_numbers(request_for, trainer, tmp_path):
    whole = request_for(trainer)
    ended = pretrain(whole)
    parts = evolve(whole, output=tmp_path / "parts")

    def stop_at(number):
        def progress(done, steps, said):
            if done == number:
                raise KeyboardInterrupt

        return progress

    for number in (2, 5, 7):  # with checkpoints after 3 and 6, and without any
        with pytest.raises(KeyboardInterrupt):
            pretrain(parts, stop_at(number))
    result = pretrain(parts)
    assert losses(parts.output) == losses(whole.output)
    one, two = weights(ended, whole), weights(result, parts)
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("asked", "within", "last", "looks"), [(4, True, 4, []), (4, False, 4, []), (5, False, 6, [4])]
)
def test_a_signal_stops_it_after_the_step_with_a_checkpoint(
    request_for, trainer, tmp_path, asked, within, last, looks
):
    """Within a step, before a look and before a step; a look that is left out is made later."""
    whole = request_for(trainer)
    pretrain(whole)
    request = evolve(whole, output=tmp_path / "other")
    with Stop() as stop:
        run = room._Run(request, *placed(request))
        step, made = run.learner.step, []

        def stepped(rate):
            made.append(rate)
            if within and len(made) == asked:
                stop._ask(15)
                stop._ask(15)
            return step(rate)

        def said(done, steps, numbers):
            if not within and done == asked:
                stop._ask(15)

        run.learner.step = stepped
        result = run.train(stop, said)
    assert (result.model, result.steps) == (None, last)
    assert newest(request.output / "checkpoints").steps == last
    assert [s for kind, s, _ in losses(request.output) if kind == "held_out"] == looks
    assert pretrain(request).steps == 8
    assert losses(request.output) == losses(whole.output)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed is 0, and here it is 1"),
        ({"recipe": recipe("bert")}, "recipe.strategies"),
        ({"optimization": Optimization(peak=1.0, warmup=2)}, "optimization.peak is 0.003, and"),
        ({"tokens": 401}, "tokens is 400"),
        ({"alpha": 0.5}, "alpha"),
        ({"steps": 9}, "steps is 8"),
        ({"weights": "a.pt"}, "weights is 'random'"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(request_for, change, message):
    request = request_for("torch", steps=8)
    folder = request.output / "checkpoints" / "step-000000003"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"steps": 3, "run": identity(request, 508)}))
    assert last_of(request.output, identity(request, 508)).steps == 3
    with pytest.raises(UsageError, match=f"another run: its {message}.*\nGive another folder"):
        last_of(request.output, identity(evolve(request, **change), 508))


@pytest.mark.backend("torch")
def test_files_that_are_gone_are_not_needed_any_more(request_for, tmp_path):
    request = request_for("torch")
    first = pretrain(request)
    pathlib.Path(request.source.files[0]).unlink()
    again = pretrain(request)
    assert (again.last, again.held_out) == (first.last, first.held_out)
    with pytest.raises(SequenceError, match="cannot be read"):
        pretrain(evolve(request, output=tmp_path / "other"))


@pytest.mark.backend("torch")
def test_one_run_at_a_time_and_no_leftovers(request_for):
    request = request_for("torch", steps=1)
    left = request.output / "checkpoints" / f".step-000000001.{'0' * 32}.tmp"
    left.mkdir(parents=True)
    mine = [request.output / name for name in ("notes.tmp", ".mine.tmp")]
    for file in mine:
        file.write_text("keep")
    with running(request.output, 0):
        left.mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="another run is at work"):
            pretrain(request)
    assert left.exists()
    pretrain(request)
    assert not left.exists() and all(file.is_file() for file in mine)


def test_a_line_that_a_kill_has_cut_is_forgotten(request_for, trainer, tmp_path):
    whole = request_for(trainer)
    pretrain(whole)
    shutil.copytree(whole.output, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "model")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "step-000000008")
    with (tmp_path / "cut" / "log.jsonl").open("a") as file:
        file.write('{"kind": "tra')
    cut = evolve(whole, output=tmp_path / "cut")
    pretrain(cut)
    assert losses(cut.output) == losses(whole.output)


def test_a_damaged_checkpoint_is_named(request_for, trainer):
    request = request_for(trainer, steps=3)
    pretrain(request)
    folder = request.output / "checkpoints" / "step-000000003"
    shutil.rmtree(request.output / "model")
    (folder / "adamw.safetensors").write_bytes(b"no")
    with pytest.raises(StoreError, match=r"adamw\.safetensors is damaged"):
        pretrain(request)
    (folder / "state.json").write_text("{", "utf-8")
    with pytest.raises(StoreError, match="step-000000003 is damaged"):
        pretrain(request)


def test_a_full_disk_keeps_what_was_there(request_for, trainer, monkeypatch):
    request = request_for(trainer)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = room.save_checkpoint
    calls = []

    def second(folder, *rest):
        calls.append(folder)
        if len(calls) == 2:
            monkeypatch.setattr("riboswitch.training.checkpoint.save_moments", full)
        before(folder, *rest)

    monkeypatch.setattr(room, "save_checkpoint", second)
    with pytest.raises(ResourceError, match="No space left"):
        pretrain(request)
    monkeypatch.undo()
    assert [p.name for p in (request.output / "checkpoints").iterdir()] == ["step-000000003"]
    assert pretrain(request).steps == 8


@pytest.mark.backend("torch")
def test_a_full_disk_under_tensorboard(request_for, monkeypatch):
    from tensorboardX.event_file_writer import EventsWriter

    request, before, calls = request_for("torch", board=True), EventsWriter.flush, []

    def full(writer):
        calls.append(writer)
        if len(calls) == 5:
            raise OSError(28, "No space left on device")
        return before(writer)

    monkeypatch.setattr(EventsWriter, "flush", full)
    with pytest.raises(ResourceError, match=r"No space left.*tensorboard|tensorboard.*No space"):
        pretrain(request)
    monkeypatch.undo()
    assert pretrain(request).steps == 8
    steps = [line["step"] for line in read_log(request.output / "log.jsonl")]
    assert steps == sorted(steps) and {*steps} == {*range(1, 9)}


def test_two_checkpoints_are_kept_and_each_can_be_loaded(request_for, trainer):
    request = request_for(trainer, save_every=2)
    pretrain(request)
    folders = sorted(p.name for p in (request.output / "checkpoints").iterdir())
    assert folders == ["step-000000006", "step-000000008"]
    saved = newest(request.output / "checkpoints")
    model = load("rnaernie", backend="numpy", weights=saved.model, architecture={"num_heads": 2})
    assert model.embed(["ACGU"], pool="mean").shape == (1, 16)
    assert not [*request.output.rglob("*.p*kl"), *request.output.rglob("*.pt")]


def test_dropout_is_the_same_after_a_stop(request_for, trainer, tmp_path):
    optimization = evolve(request_for(trainer).optimization, dropout=0.2)
    whole = request_for(trainer, optimization=optimization)
    pretrain(whole)
    without = request_for(trainer, output=tmp_path / "without")
    pretrain(without)
    assert losses(whole.output) != losses(without.output)
    again = evolve(whole, output=tmp_path / "again")

    def stop(done, steps, said):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(again, stop)
    pretrain(again)
    assert losses(again.output) == losses(whole.output)
