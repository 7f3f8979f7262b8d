"""What a run learns, logs and leaves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from attrs import evolve
from tests.training.runs import losses, weights

from riboswitch.registry import registry
from riboswitch.training.corpus import Source
from riboswitch.training.learner import TrainingBackend
from riboswitch.training.log import read_log
from riboswitch.training.pretrain import pretrain


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


def test_workers_and_passes_over_the_corpus_change_nothing(request_for, tmp_path, trainer):
    one = request_for(trainer, steps=None, epochs=2.5)
    pretrain(one)
    other = evolve(one, output=tmp_path / "other", workers=3)
    pretrain(other)
    assert losses(one.output) == losses(other.output)
    assert len(losses(one.output)) > 10


def test_accumulating_is_one_larger_batch(request_for, trainer, tmp_path):
    """Losses are means over all masked tokens, however they are cut."""
    whole = request_for(trainer, tokens=10**6, accumulate=1, steps=3, held_out_every=99)
    pretrain(whole)
    cut = evolve(whole, tokens=300, accumulate=10**6, output=tmp_path / "cut")
    pretrain(cut)
    one, two = ([loss for *_, loss in losses(r.output)] for r in (whole, cut))
    np.testing.assert_allclose(one, two, rtol=2e-5)


@pytest.mark.backend("torch")
def test_a_step_without_masks_has_no_loss_to_speak_of(request_for, fasta):
    source = Source(files=(fasta("short.fa", ["A"]),), held_out=0)
    request = request_for("torch", source=source, steps=20)
    result = pretrain(request)
    lines = read_log(request.output / "log.jsonl")
    empty = [line for line in lines if "mlm" not in line]
    assert 0 < len(empty) < len(lines) and result.held_out == {}
    assert all(line["loss"] == 0 and "accuracy" not in line for line in empty)


@pytest.mark.backend("torch")
def test_bfloat16_is_near_and_not_the_same(request_for, tmp_path):
    whole = request_for("torch", model="rinalmo-nano", steps=20)
    whole = evolve(whole, source=evolve(whole.source, types=None))
    half = evolve(whole, dtype="bfloat16", output=tmp_path / "half")
    pretrain(whole), pretrain(half)
    one, two = ([loss for *_, loss in losses(r.output)] for r in (whole, half))
    assert one != two and one[-1] < one[0] - 0.2
    np.testing.assert_allclose(one, two, rtol=0.02)


def test_types_are_learned_without_prompts(request_for, trainer):
    result = pretrain(request_for(trainer, model="ribotiny", pool="mean"))
    assert result.last["cls"] > 0 and "accuracy_type" in result.held_out


def test_training_goes_on_from_a_model(request_for, trainer, tmp_path):
    first = pretrain(request_for(trainer))
    more = request_for(trainer, weights=str(first.model), output=tmp_path / "more")
    cold = request_for(trainer, output=tmp_path / "cold")
    pretrain(more), pretrain(cold)
    assert losses(more.output)[0][2] < losses(cold.output)[0][2] - 0.1


def test_ours_keep_to_the_protocol(trainer):
    assert isinstance(registry().backend(trainer), TrainingBackend)
    assert registry().backend(trainer, trains=True).process() == (0, 1)


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
