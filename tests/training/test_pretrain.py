"""Runs: the same numbers after a stop, with any number of workers, and no other run's."""

from __future__ import annotations

import json
import math
import pathlib
import shutil

import numpy as np
import pytest
from attrs import evolve

from riboswitch import load
from riboswitch.errors import (
    BackendError,
    CheckpointError,
    ResourceError,
    RiboswitchWarning,
    SequenceError,
    StoreError,
    TrainingError,
    UsageError,
)
from riboswitch.masking import recipe
from riboswitch.registry import registry
from riboswitch.training import pretrain as room
from riboswitch.training.checkpoint import newest
from riboswitch.training.corpus import Source
from riboswitch.training.identity import identity, last_of
from riboswitch.training.learner import TrainingBackend
from riboswitch.training.log import read_log
from riboswitch.training.placing import longest, placed
from riboswitch.training.pretrain import pretrain
from riboswitch.training.running import running
from riboswitch.training.settings import Optimization
from riboswitch.training.stop import Stop


def losses(request):
    lines = read_log(request.output / "log.jsonl")
    return [(line["kind"], line["step"], line["loss"]) for line in lines]


def weights(result, like):
    sizes = {"num_heads": like.entry.architecture.num_heads}
    model = load(like.entry.name, backend="numpy", weights=result.model, architecture=sizes)
    return {name: model.weights[name].copy() for name in model.weights}


def test_a_run_learns_logs_and_leaves_a_model(request_for, trainer):
    request = request_for(trainer, steps=30, held_out_every=10)
    seen = []
    result = pretrain(request, lambda done, steps, said: seen.append((done, steps, said["loss"])))
    lines = read_log(request.output / "log.jsonl")
    train = [line for line in lines if line["kind"] == "train"]
    assert [line["step"] for line in train] == [*range(1, 31)] == [done for done, _, _ in seen]
    assert [line["step"] for line in lines if line["kind"] == "held_out"] == [10, 20, 30]
    first, last = (np.mean([line["loss"] for line in part]) for part in (train[:5], train[-5:]))
    assert last < first - 0.3
    assert train[0]["loss"] == pytest.approx(train[0]["mlm"] + train[0]["cls"])
    by_strategy = {"accuracy_nucleotide", "accuracy_span", "accuracy_type"}
    assert by_strategy <= {*result.held_out, *lines[5]}
    assert result.steps == 30 and result.model == request.output / "model"
    assert weights(result, request).keys() == request.entry.architecture.parameter_shapes().keys()


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
    assert losses(parts) == losses(whole)
    one, two = weights(ended, whole), weights(result, parts)
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("within", [False, True])
def test_a_signal_stops_it_after_the_step_with_a_checkpoint(request_for, trainer, tmp_path, within):
    """The step in which it comes; what is said of step 4 is said when that is done."""
    whole = request_for(trainer)
    pretrain(whole)
    request = evolve(whole, output=tmp_path / "other")
    last = 4 if within else 5
    with Stop() as stop:
        run = room._Run(request, *placed(request))
        step, made = run.learner.step, []

        def stepped(rate):
            made.append(rate)
            if within and len(made) == 4:
                stop._ask(15)
                stop._ask(15)
            return step(rate)

        def said(done, steps, numbers):
            if not within and done == 4:
                stop._ask(15)

        run.learner.step = stepped
        result = run.train(stop, said)
    assert (result.model, result.steps) == (None, last)
    assert newest(request.output / "checkpoints").steps == last
    assert [s for kind, s, _ in losses(request) if kind == "held_out"] == [4][: last - 4]
    assert pretrain(request).steps == 8
    assert losses(request) == losses(whole)


def test_workers_and_passes_over_the_corpus_change_nothing(request_for, tmp_path, trainer):
    one = request_for(trainer, steps=None, epochs=2.5)
    pretrain(one)
    other = evolve(one, output=tmp_path / "other", workers=3)
    pretrain(other)
    assert losses(one) == losses(other)
    assert len(losses(one)) > 10


def test_accumulating_is_one_larger_batch(request_for, trainer, tmp_path):
    """Losses are means over all masked tokens, however they are cut."""
    whole = request_for(trainer, tokens=10**6, accumulate=1, steps=3, held_out_every=99)
    pretrain(whole)
    cut = evolve(whole, tokens=300, accumulate=10**6, output=tmp_path / "cut")
    pretrain(cut)
    one, two = ([loss for *_, loss in losses(r)] for r in (whole, cut))
    np.testing.assert_allclose(one, two, rtol=2e-5)


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
def test_mistakes_are_told_before_the_corpus_is_packed(request_for, monkeypatch):
    request = request_for("torch", weights="none.pt")
    with pytest.raises(CheckpointError, match=r"none\.pt"):
        pretrain(request)
    monkeypatch.setattr("riboswitch.training.log.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="tensorboardX, which is not installed"):
        pretrain(evolve(request, weights="random", board=True))
    assert not (request.output / "corpus").exists()


@pytest.mark.backend("torch")
def test_what_may_surprise_is_said(request_for, fasta):
    path = fasta("some.fa", ["ACGUACGU" * 4] * 3 + ["ACGUEEE"] * 2)
    long = Optimization(peak=1.0, warmup=9)
    request = request_for("torch", optimization=long, source=Source(files=(path,), held_out=0))
    with pytest.warns(RiboswitchWarning) as told:
        pretrain(request)
    first, second = (str(w.message) for w in told)
    assert first.startswith("2 of 5 records are left out: 2 because it has letters that no RNA")
    assert second.startswith("the rate warms up for 9 steps, and the run has 8")


@pytest.mark.backend("torch")
def test_a_step_without_masks_has_no_loss_to_speak_of(request_for, fasta):
    source = Source(files=(fasta("short.fa", ["A"]),), held_out=0)
    request = request_for("torch", source=source, steps=20)
    result = pretrain(request)
    lines = read_log(request.output / "log.jsonl")
    empty = [line for line in lines if "mlm" not in line]
    assert 0 < len(empty) < len(lines) and result.held_out == {}
    assert all(line["loss"] == 0 and "accuracy" not in line for line in empty)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"held_out": 0.2}, "held_out"),
        ({"types": None}, "types"),
        ({"files": ("b",)}, "files 1.name"),
    ],
)
@pytest.mark.backend("torch")
def test_a_corpus_of_something_else_is_refused(request_for, change, key):
    request = request_for("torch", steps=1)
    pretrain(request)
    for name in ("checkpoints", "model"):
        shutil.rmtree(request.output / name)
    other = evolve(request, source=evolve(request.source, **change))
    with pytest.raises(UsageError, match=f"packed from something else: its {key} is"):
        pretrain(other)


@pytest.mark.backend("torch")
def test_a_model_that_is_there_is_not_passed_off(request_for):
    request = request_for("torch", steps=1)
    pretrain(request)
    assert pretrain(request).held_out["step"] == 1  # what is done is said again
    shutil.rmtree(request.output / "checkpoints")
    with pytest.raises(UsageError, match="is there, and of another run"):
        pretrain(request)


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


@pytest.mark.backend("torch")
def test_another_framework_s_launcher_is_noticed(request_for, monkeypatch):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    with pytest.raises(
        BackendError, match="A launcher started 2 processes, and the backend 'torch'"
    ):
        pretrain(request_for("torch"))


@pytest.mark.backend("torch")
def test_another_alphabet_is_no_beginning(request_for, tmp_path):
    first = pretrain(request_for("torch", steps=1))
    other = request_for("torch", model="rinalmo-nano", weights=str(first.model))
    other = evolve(other, output=tmp_path / "other", source=evolve(other.source, types=None))
    with pytest.raises(UsageError, match="has another alphabet than rinalmo-nano"):
        pretrain(other)


@pytest.mark.backend("torch")
def test_memory_that_runs_out(request_for, monkeypatch):
    def none_left(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("torch.nn.functional.cross_entropy", none_left)
    with pytest.raises(ResourceError, match=r"memory ran out: .* tokens at once"):
        pretrain(request_for("torch"))


@pytest.mark.parametrize("text", ["hello\n", "{}\n", "\0\0\n", '{"step": "1", "kind": 2}\n'])
@pytest.mark.backend("torch")
def test_a_log_of_something_else_is_left_alone(request_for, text):
    request = request_for("torch")
    request.output.mkdir()
    (request.output / "log.jsonl").write_text(text)
    with pytest.raises(StoreError, match="no log of a run"):
        pretrain(request)
    assert (request.output / "log.jsonl").read_text() == text


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
    assert losses(cut) == losses(whole)


@pytest.mark.backend("torch")
def test_bfloat16_is_near_and_not_the_same(request_for, tmp_path):
    whole = request_for("torch", model="rinalmo-nano", steps=20)
    whole = evolve(whole, source=evolve(whole.source, types=None))
    half = evolve(whole, dtype="bfloat16", output=tmp_path / "half")
    pretrain(whole), pretrain(half)
    one, two = ([loss for *_, loss in losses(r)] for r in (whole, half))
    assert one != two and one[-1] < one[0] - 0.2
    np.testing.assert_allclose(one, two, rtol=0.02)


def test_types_are_learned_without_prompts(request_for, trainer):
    result = pretrain(request_for(trainer, model="ribotiny", pool="mean"))
    assert result.last["cls"] > 0 and "accuracy_type" in result.held_out


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


def test_numbers_that_are_none_end_it(request_for, trainer):
    optimization = evolve(request_for(trainer).optimization, peak=1e30, clip=None, warmup=0)
    with pytest.raises(TrainingError, match="Take a lower learning rate"):
        pretrain(request_for(trainer, optimization=optimization))


@pytest.mark.backend("torch")
def test_a_model_of_other_sizes_is_no_beginning(request_for, tmp_path):
    first = pretrain(request_for("torch", steps=1))
    wider = request_for("torch", weights=str(first.model), output=tmp_path / "wider")
    sizes = wider.entry.architecture.evolve({"feed_forward_size": 32})
    wider = evolve(wider, entry=evolve(wider.entry, architecture=sizes))
    with pytest.raises(UsageError, match="its feed_forward_size is 24, and that of rnaernie 32"):
        pretrain(wider)


def test_training_goes_on_from_a_model(request_for, trainer, tmp_path):
    first = pretrain(request_for(trainer))
    more = request_for(trainer, weights=str(first.model), output=tmp_path / "more")
    cold = request_for(trainer, output=tmp_path / "cold")
    pretrain(more), pretrain(cold)
    assert losses(more)[0][2] < losses(cold)[0][2] - 0.1


def test_dropout_is_the_same_after_a_stop(request_for, trainer, tmp_path):
    optimization = evolve(request_for(trainer).optimization, dropout=0.2)
    whole = request_for(trainer, optimization=optimization)
    pretrain(whole)
    without = request_for(trainer, output=tmp_path / "without")
    pretrain(without)
    assert losses(whole) != losses(without)
    again = evolve(whole, output=tmp_path / "again")

    def stop(done, steps, said):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(again, stop)
    pretrain(again)
    assert losses(again) == losses(whole)


def test_a_backend_that_only_computes_is_refused(request_for):
    with pytest.raises(BackendError, match=r"'numpy' computes and does not train\.\nTake one"):
        pretrain(request_for("numpy"))


def test_ours_keep_to_the_protocol(trainer):
    assert isinstance(registry().backend(trainer), TrainingBackend)
    assert registry().backend(trainer, trains=True).process() == (0, 1)


def test_lengths_that_the_model_does_not_take(request_for):
    with pytest.raises(UsageError, match="longest is 600, and rnaernie takes 1 to 509 letters"):
        longest(request_for("torch", longest=600))
    assert longest(request_for("torch", model="mrnafm", longest=20)) == 18
    assert longest(request_for("torch", model="rinalmo-nano")) == 1022


@pytest.mark.backend("torch")
def test_tensorboard_reads_what_is_logged(request_for):
    from tensorboardX.proto.event_pb2 import Event

    request = request_for("torch", board=True)
    pretrain(request)
    (path,) = (request.output / "tensorboard").iterdir()
    data, found, start = path.read_bytes(), {}, 0
    while start < len(data):
        size = int.from_bytes(data[start : start + 8], "little")
        event = Event.FromString(data[start + 12 : start + 12 + size])
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = value.simple_value
        start += 16 + size
    logged = [line for line in read_log(request.output / "log.jsonl") if line["kind"] == "train"]
    assert found["train/loss"].keys() == {line["step"] for line in logged}
    assert all(
        math.isclose(found["train/loss"][line["step"]], line["loss"], rel_tol=1e-6)
        for line in logged
    )
    assert "held_out/accuracy" in found
