"""What a run refuses, and what it warns of, before it costs anything."""

from __future__ import annotations

import shutil

import pytest
from attrs import evolve
from tests.training.runs import small_entry

from riboswitch.errors import (
    BackendError,
    CheckpointError,
    ResourceError,
    RiboswitchWarning,
    StoreError,
    TrainingError,
    UsageError,
)
from riboswitch.limits import max_residues
from riboswitch.optimization import Optimization
from riboswitch.training.corpus import Source
from riboswitch.training.placing import WORDS, longest
from riboswitch.training.pretrain import pretrain


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


def test_numbers_that_are_none_end_it(request_for, trainer):
    optimization = evolve(request_for(trainer).optimization, peak=1e15, clip=None, warmup=0)
    with pytest.raises(TrainingError, match="begin anew in another folder: -o"):
        pretrain(request_for(trainer, optimization=optimization))


@pytest.mark.backend("torch")
def test_a_model_of_other_sizes_is_no_beginning(request_for, tmp_path):
    first = pretrain(request_for("torch", steps=1))
    wider = request_for("torch", weights=str(first.model), output=tmp_path / "wider")
    sizes = wider.entry.architecture.evolve({"feed_forward_size": 32})
    wider = evolve(wider, entry=evolve(wider.entry, architecture=sizes))
    with pytest.raises(UsageError, match="its feed_forward_size is 24, and that of rnaernie 32"):
        pretrain(wider)


def test_a_backend_that_only_computes_is_refused(request_for):
    with pytest.raises(BackendError, match=r"'numpy' computes and does not train\.\nTake one"):
        pretrain(request_for("numpy"))


def test_lengths_that_the_model_does_not_take(request_for):
    with pytest.raises(UsageError, match="longest is 600, and rnaernie takes 1 to 509 letters"):
        longest(request_for("torch", longest=600))
    with pytest.raises(UsageError, match=r"longest is 2, and mrnafm takes 3 to \d+ letters\."):
        longest(request_for("torch", model="mrnafm", longest=2))
    assert longest(request_for("torch", model="mrnafm", longest=20)) == 18
    assert longest(request_for("torch", model="mrnafm")) == 3 * WORDS
    assert longest(request_for("torch", model="rinalmo-nano")) == 1022


def test_what_a_model_takes_is_what_it_embeds(request_for):
    """Beyond the usual length, up to its table of positions."""
    request = request_for("torch", model="rnafm")
    entry = small_entry("rnafm", max_positions=4098)
    request = evolve(request, entry=entry, source=evolve(request.source, types=None))
    most = max_residues(entry)
    assert longest(request) == WORDS == 1022 < most
    assert [longest(evolve(request, longest=n)) for n in (3000, most)] == [3000, most]
    with pytest.raises(UsageError, match=f"rnafm takes 1 to {most} letters"):
        longest(evolve(request, longest=most + 1))


@pytest.mark.backend("torch")
def test_a_decay_that_ends_far_beyond_the_run_is_told(request_for):
    plan = Optimization(peak=1e-3, warmup=2, decay=1000)
    request = request_for("torch", optimization=plan, steps=3)
    with pytest.warns(RiboswitchWarning, match="decays until step 1000, and the run has 3"):
        pretrain(request)
    shutil.rmtree(request.output / "model")
    assert pretrain(request).steps == 3  # and not again
