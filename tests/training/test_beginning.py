"""Weights that a run begins with: what they are counts, not where they lie."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve
from tests.training.runs import losses, weights

import riboswitch
from riboswitch.errors import UsageError
from riboswitch.masking import recipe
from riboswitch.registry import registry
from riboswitch.released import released_path
from riboswitch.training.checkpoint import newest, save_model
from riboswitch.training.initial import initial_weights
from riboswitch.training.pretrain import pretrain


def interrupted(done, *_: object) -> None:
    if done == 5:
        raise KeyboardInterrupt


@pytest.fixture
def begun(request_for, tmp_path):
    """A run from a model's weights that was stopped, with a checkpoint of step 3."""
    request = request_for("torch", weights=str(tmp_path / "first" / "model"))
    drawn = initial_weights(request.entry.architecture, 9, "normal")
    save_model(request.entry, drawn, tmp_path / "first" / "model")
    whole = evolve(request, output=tmp_path / "whole")
    pretrain(whole)
    with pytest.raises(KeyboardInterrupt):
        pretrain(request, interrupted)
    return request, whole


def goes_on(request, whole) -> None:
    assert pretrain(request).steps == 8
    assert losses(request.output) == losses(whole.output)


@pytest.mark.backend("torch")
def test_they_may_move(begun, tmp_path):
    request, whole = begun
    (tmp_path / "first").rename(tmp_path / "moved")
    goes_on(evolve(request, weights=str(tmp_path / "moved" / "model")), whole)


@pytest.mark.backend("torch")
def test_they_are_not_needed_any_more(begun, tmp_path):
    request, whole = begun
    said = newest(request.output / "checkpoints").run["weights"]
    shutil.rmtree(tmp_path / "first")
    goes_on(request, whole)
    assert newest(request.output / "checkpoints").run["weights"] == said


@pytest.mark.backend("torch")
def test_others_at_the_same_place_are_refused(begun):
    request, _ = begun
    shutil.rmtree(request.weights)
    other = initial_weights(request.entry.architecture, 10, "normal")
    save_model(request.entry, other, Path(request.weights))
    with pytest.raises(UsageError, match="another run: its weights is 'sha256:"):
        pretrain(request)
    with pytest.raises(UsageError, match=r"its weights is 'sha256:.* and here it is 'random'"):
        pretrain(evolve(request, weights="random"))


@pytest.mark.backend("torch")
def test_a_run_of_before_goes_on(begun, tmp_path):
    """Its identity has an absolute path, and floors that a constant rate never had."""
    request, whole = begun
    state = newest(request.output / "checkpoints").folder / "state.json"
    text = json.loads(state.read_text())
    text["run"]["weights"] = "/elsewhere/model"
    state.write_text(json.dumps(text))
    with pytest.raises(
        UsageError, match="its weights is '/elsewhere/model', and here it is 'random"
    ):
        pretrain(evolve(request, weights="random"))
    goes_on(request, whole)


@pytest.mark.backend("torch")
def test_a_constant_rate_s_floor_of_before_does_not_matter(request_for):
    plan = evolve(request_for("torch").optimization, schedule="constant")
    request = request_for("torch", optimization=plan)
    with pytest.raises(KeyboardInterrupt):
        pretrain(request, interrupted)
    state = newest(request.output / "checkpoints").folder / "state.json"
    text = json.loads(state.read_text())
    text["run"]["optimization"]["floor"] = 1e-5
    state.write_text(json.dumps(text))
    assert pretrain(request).steps == 8


def test_released_ones(request_for, trainer, tmp_path):
    request = request_for(trainer, steps=1, weights="released", recipe=recipe("bert"))
    plan = evolve(request.optimization, peak=0.0)
    request = evolve(request, entry=registry().model("ribotiny"), optimization=plan)
    result = pretrain(request)
    trained = weights(result, request)
    known = riboswitch.load("ribotiny", backend="numpy").weights
    assert all(np.array_equal(trained[name], known[name]) for name in known)
    path = str(released_path(request.entry))
    assert pretrain(evolve(request, weights=path)).steps == 1  # the same, by another name


@pytest.mark.backend("torch")
def test_released_ones_that_nobody_released(request_for):
    request = request_for("torch", weights="released")
    with pytest.raises(UsageError, match="No weights of 'mine' were ever released"):
        pretrain(evolve(request, entry=evolve(request.entry, name="mine", released=None)))
    assert not (request.output / "corpus").exists()
