"""Looks at the held-out sequences: how many, which, and how they are stopped."""

from __future__ import annotations

import numpy as np
import pytest
from attrs import evolve
from tests.training.runs import losses

from riboswitch.training import pretrain as room
from riboswitch.training.checkpoint import newest
from riboswitch.training.placing import placed
from riboswitch.training.pretrain import pretrain
from riboswitch.training.stop import Stop


@pytest.fixture
def wide(request_for):
    """A run half of whose sequences are held out, in many micro-batches."""

    def make(backend, **changes):
        request = request_for(backend, tokens=200, **changes)
        return evolve(request, source=evolve(request.source, held_out=0.5))

    return make


def run_of(request):
    return room._Run(request, *placed(request))


@pytest.mark.backend("torch")
def test_a_look_is_at_the_first_so_many(wide):
    run = run_of(wide("torch", held_out_most=7))
    looked = np.sort(np.concatenate(run.looks.batches))
    np.testing.assert_array_equal(looked, np.flatnonzero(run.corpus.held_out)[:7])
    assert len(run.batches.records) == (~run.corpus.held_out).sum()


@pytest.mark.backend("torch")
def test_as_many_as_there_are_change_nothing(wide, tmp_path):
    many = wide("torch")
    held_out = int(run_of(many).corpus.held_out.sum())
    pretrain(many)
    exact = evolve(many, held_out_most=held_out, output=tmp_path / "exact")
    fewer = evolve(many, held_out_most=held_out - 1, output=tmp_path / "fewer")
    pretrain(exact), pretrain(fewer)
    assert losses(exact.output) == losses(many.output) != losses(fewer.output)
    trained = [[x for x in losses(r.output) if x[0] == "train"] for r in (many, fewer)]
    assert trained[0] == trained[1]


@pytest.mark.backend("torch")
def test_another_number_of_them_is_the_same_run(wide):
    request = wide("torch", steps=6)

    def interrupted(done, *_: object) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(request, interrupted)
    assert pretrain(evolve(request, held_out_most=3)).steps == 6


@pytest.mark.parametrize("at", [4, 8])
def test_a_look_is_stopped_between_micro_batches_and_made_again(wide, trainer, tmp_path, at):
    """After the last step too: there is no model before all has been looked at."""
    whole = wide(trainer)
    pretrain(whole)
    request = evolve(whole, output=tmp_path / "other")
    with Stop() as stop:
        run = run_of(request)
        evaluate, seen = run.learner.evaluate, []
        batches = len(run.looks.batches)
        assert batches > 4

        def evaluated(work):
            seen.append(work)
            if len(seen) == 2 + (batches if at == 8 else 0):
                stop._ask(2)
            return evaluate(work)

        run.learner.evaluate = evaluated
        result = run.train(stop, room._silent)
    assert len(seen) == 2 + (batches if at == 8 else 0)
    assert (result.model, result.steps) == (None, at)
    assert newest(request.output / "checkpoints").steps == at
    assert [s for kind, s, _ in losses(request.output) if kind == "held_out"] == [4][: at // 8]
    with Stop() as stop:  # and once more, before any step
        run = run_of(request)
        stop._ask(2)
        assert run.train(stop, room._silent).model is None
    assert pretrain(request).model is not None
    assert losses(request.output) == losses(whole.output)


@pytest.mark.backend("torch")
def test_any_process_that_is_asked_stops_all(wide):
    """What another process gives to the total counts."""
    run = run_of(wide("torch"))
    run.learner.total = lambda numbers: numbers + 1
    assert run.looks.look(4, Stop()) is None


@pytest.mark.backend("torch")
def test_a_signal_in_the_last_step_without_anything_to_look_at(request_for):
    request = request_for("torch", steps=3)
    request = evolve(request, source=evolve(request.source, held_out=0))
    with Stop() as stop:
        run = run_of(request)
        result = run.train(stop, lambda done, *_: stop._ask(15) if done == 2 else None)
    assert (result.steps, result.model) == (3, request.output / "model")
