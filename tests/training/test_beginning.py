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
from riboswitch.errors import RiboswitchWarning, UsageError
from riboswitch.masking import recipe
from riboswitch.registry import registry
from riboswitch.released import released_path
from riboswitch.training import beginning as room
from riboswitch.training.beginning import given
from riboswitch.training.checkpoint import Saved, newest, save_model
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
    with pytest.warns(RiboswitchWarning, match="model is not there: the run goes on"):
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


def noted(request, **changes) -> None:
    """Let the last checkpoint say what one of an older version did."""
    state = newest(request.output / "checkpoints").folder / "state.json"
    text = json.loads(state.read_text())
    text["run"].update(changes)
    state.write_text(json.dumps(text))


@pytest.mark.backend("torch")
def test_weights_that_an_older_version_noted_by_their_path_are_compared(begun, tmp_path):
    """As long as they are there; then their hash is noted."""
    request, whole = begun
    said = newest(request.output / "checkpoints").run["weights"]
    noted(request, weights=request.weights)
    other = initial_weights(request.entry.architecture, 10, "normal")
    save_model(request.entry, other, tmp_path / "b")
    with pytest.raises(UsageError, match=r"its weights is 'sha256:.*here it is 'sha256:"):
        pretrain(evolve(request, weights=str(tmp_path / "b")))
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    goes_on(evolve(request, weights=str(tmp_path / "copy" / "model")), whole)
    assert newest(request.output / "checkpoints").run["weights"] == said


@pytest.mark.backend("torch")
def test_noted_weights_that_are_damaged_are_as_good_as_gone(begun, tmp_path):
    request, whole = begun
    (tmp_path / "damaged").write_bytes(b"no")
    noted(request, weights=str(tmp_path / "damaged"))
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


@pytest.mark.backend("torch")
def test_nor_when_a_run_goes_on(request_for):
    request = request_for("torch")
    entry = evolve(request.entry, name="mine", released=None)
    request = evolve(request, entry=entry)
    with pytest.raises(KeyboardInterrupt):
        pretrain(request, interrupted)
    noted(request, weights=f"sha256:{0:064}")
    with pytest.raises(UsageError, match="No weights of 'mine' were ever released"):
        pretrain(evolve(request, weights="released"))


@pytest.mark.parametrize(("here", "saved"), [(True, True), (True, False), (False, False)])
def test_released_ones_are_compared_where_they_need_not_be_fetched(
    request_for, monkeypatch, here, saved
):
    request = evolve(request_for("torch", weights="released"), entry=registry().model("ribotiny"))
    checkpoint = Saved(request.output, 3, {}) if saved else None
    monkeypatch.setattr(room, "is_here", lambda _: here)
    opened = given(request, checkpoint)
    assert opened and opened.entry.name == "ribotiny"


def test_released_ones_that_are_not_here_are_not_fetched_when_a_run_goes_on(
    request_for, monkeypatch
):
    request = request_for("torch", weights="released")
    monkeypatch.setattr(room, "is_here", lambda _: False)
    monkeypatch.setattr(room, "fetch", lambda _: pytest.fail("fetched"))
    assert given(request, Saved(request.output, 3, {})) is None


def test_one_process_tells_that_they_are_gone(request_for):
    request = request_for("torch", weights="none.pt")
    assert given(request, Saved(request.output, 3, {}), 1) is None
