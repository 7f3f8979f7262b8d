"""What cannot be is refused where it is said, in one wording."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve

from riboswitch import Architecture, UsageError
from riboswitch.masking import Recipe
from riboswitch.optimization import Optimization, Pretraining
from riboswitch.registry import registry
from riboswitch.training.corpus import Source
from riboswitch.training.identity import identity

SIZES = {"vocab_size": 9, "hidden_size": 8, "num_layers": 2, "num_heads": 2}


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("steps", 2.5, "a whole number from 1."),
        ("steps", "5", "a whole number from 1"),
        ("steps", 0, "a whole number from 1."),
        ("accumulate", 1.5, "a whole number from 1"),
        ("accumulate", 10**20, "a whole number from 1 to 9223372036854775807"),
        ("tokens", True, "a whole number from 1"),
        ("workers", 10**6, "a whole number from 1 to 1024"),
        ("held_out_most", 0, "a whole number from 1"),
        ("seed", -1, "a whole number from 0 to 18446744073709551615"),
        ("epochs", "2", "a number above 0 to below 1e+09"),
        ("epochs", 0, "a number above 0"),
        ("epochs", float("nan"), "a number above 0"),
        ("alpha", None, "a number from 0"),
        ("shown", True, "a number from 0 to 1"),
        ("shown", 1.01, "a number from 0 to 1"),
        ("board", 1, "true or false"),
        ("weights", 5, "a text"),
        ("weights", b"a.pt", "a text"),
        ("steps", np.float64(5), "a whole number from 1."),
        ("entry", "rnaernie", "of the class ModelEntry.\nGive riboswitch.training.models"),
        ("source", ["a.fa"], "of the class Source.\nMake one: riboswitch.training.corpus.Source"),
        ("recipe", "bert", "of the class Recipe.\nGive riboswitch.masking.recipe('bert')"),
        ("optimization", {}, "of the class Optimization.\nMake one: riboswitch.optimization."),
        ("output", 5, "of the class Path"),
    ],
    ids=str,
)
def test_of_a_request(request_for, name, value, wanted):
    said = value.item() if isinstance(value, np.generic) else value
    message = re.escape(f"{name} is {said!r}, and must be {wanted}")
    with pytest.raises(UsageError, match=message):
        request_for("torch", **{name: value})


@pytest.mark.parametrize("name", ["pool", "dtype"])
@pytest.mark.parametrize("value", ["ten", 5, None, []])
def test_of_names(request_for, name, value):
    with pytest.raises(UsageError, match=rf"no {name} {re.escape(repr(value))}\.\nThere are: "):
        request_for("torch", **{name: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": "abc"}, "files is 'abc', and must be a list of texts"),
        ({"files": 5}, "files is 5"),
        ({"files": [5]}, r"files is \(5,\)"),
        ({"exclude": "abc"}, "exclude is 'abc'"),
        ({"held_out": "x"}, "held_out is 'x', and must be a number from 0 to below 1"),
        ({"held_out": True}, "held_out is True"),
        ({"types": 5}, "types is 5, and must be a text"),
        ({"files": []}, "a corpus needs a file"),
    ],
    ids=str,
)
def test_of_a_source(changes, message):
    with pytest.raises(UsageError, match=message):
        Source(**{"files": ("a.fa",), **changes})


def test_paths_are_files_as_well(request_for):
    assert Source(files=[Path("a.fa"), "b.fa"]).files == ("a.fa", "b.fa")
    assert request_for("torch", weights=Path("a.pt")).weights == "a.pt"


def test_numbers_of_numpy_are_taken_as_python_s_own(request_for):
    """So that what a run notes of itself is JSON, and the same as with Python's numbers."""
    ours = {"steps": 5, "alpha": 0.5, "shown": 1, "seed": 2**64 - 1, "board": False, "epochs": 2.0}
    theirs = {
        "steps": np.int64(5),
        "alpha": np.float32(0.5),
        "shown": np.int8(1),
        "seed": np.uint64(2**64 - 1),
        "board": np.bool_(False),
        "epochs": np.float64(2),
    }
    made = [request_for("torch", **numbers) for numbers in (ours, theirs)]
    assert all(type(getattr(made[1], name)) is type(value) for name, value in ours.items())
    plans = (
        Optimization(peak=0.5, decay=7, warmup=2, clip=None),
        Optimization(peak=np.float32(0.5), decay=np.float64(7), warmup=np.int64(2), clip=None),
    )
    recipes = (
        Recipe(rate=0.25, spans={5: 1, 6: 0.5}),
        Recipe(rate=np.float32(0.25), spans={np.int64(5): np.int32(1), 6: np.float32(0.5)}),
    )
    said = [
        json.dumps(identity(evolve(one, optimization=plan, recipe=recipe), 508))
        for one, plan, recipe in zip(made, plans, recipes, strict=True)
    ]
    assert said[0] == said[1]
    low = Optimization(peak=0.5, floor=0.25).changed(peak=np.float32(0.125))
    assert (low.peak, low.floor) == (0.125, 0.125)
    assert type(Source(files=["a.fa"], held_out=np.float32(0.5)).held_out) is float


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 0}, "vocab_size is 0, and must be a whole number from 1 to 1048576"),
        ({"num_layers": True}, "num_layers is True"),
        ({"num_layers": 10**5000}, "num_layers is a number of thousands of digits, and must be"),
        ({"norm_eps": 1}, "norm_eps is 1, and must be a number from 0 to below 1"),
        ({"norm": "middle"}, r"no norm 'middle'\.\nThere are: pre, post, stream"),
        ({"tied": 1}, "tied is 1, and must be true or false"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_of_an_architecture(changes, message):
    given = {**SIZES, "feed_forward_size": 5, "max_positions": 7, **changes}
    with pytest.raises(UsageError, match=message):
        Architecture(**given)


def test_of_a_plan():
    with pytest.raises(UsageError, match="recipe is 3, and must be a text"):
        Pretraining(recipe=3)
    with pytest.raises(UsageError, match="clip is -1"):
        Optimization(clip=-1)
    with pytest.raises(UsageError, match=r"optimization is \{\}, and must be of the class"):
        Pretraining(optimization={})


@pytest.mark.parametrize(
    "changes",
    [
        {"spans": {10**20: 1}},
        {"spans": {5: 10**400}},
        {"spans": {5: 10**5000}},
        {"strategies": {"span": 1e308, "nucleotide": 1e308}},
        {"rate": 10**400},
    ],
    ids=["length", "weight", "digits", "sum", "rate"],
)
def test_of_a_recipe_with_huge_numbers(changes):
    with pytest.raises(UsageError, match="and must be a"):
        Recipe(**changes)


def test_a_rate_of_0_is_nothing_to_learn_from(request_for):
    """It is a recipe, and with types there is something to predict."""
    request = request_for("torch")
    idle = evolve(request.recipe, rate=0)
    assert evolve(request, recipe=idle).recipe.predict_type
    for change in ({"recipe": evolve(idle, predict_type=False)}, {"source": Source(files=["a"])}):
        with pytest.raises(UsageError, match="the rate of the recipe is 0"):
            evolve(request, **{"recipe": idle, **change})


def test_families_pass():
    assert all(entry.architecture and entry.pretraining for entry in registry().models.values())
