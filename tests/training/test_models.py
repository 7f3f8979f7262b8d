"""A model from a YAML file."""

from __future__ import annotations

import pytest

from riboswitch.errors import UsageError
from riboswitch.masking import recipe
from riboswitch.registry import registry
from riboswitch.training.models import model_entry

GOOD = """
like: rinalmo-nano
architecture: {num_layers: 2, hidden_size: 40}
recipe: rnaernie
optimization: {peak: 0.01}
initial: scaled
"""


def test_what_the_file_says_and_what_it_resembles(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    entry, base = model_entry(str(path)), registry().model("rinalmo-nano")
    assert (entry.name, entry.family, entry.released) == ("mine", "rinalmo", None)
    assert (entry.architecture.num_layers, entry.architecture.hidden_size) == (2, 40)
    assert entry.architecture.norm == "stream" and entry.alphabet == base.alphabet
    assert entry.pretraining.recipe == "rnaernie"
    assert entry.pretraining.optimization.peak == 0.01
    assert entry.pretraining.optimization.warmup == base.pretraining.optimization.warmup
    assert (entry.pretraining.initial, base.pretraining.initial) == ("scaled", "normal")
    assert model_entry("rinalmo-nano") == base


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("like:", "lik:", r"unknown key 'lik'.* Did you mean 'like'\?"),
        ("like: rinalmo-nano", "name: x", "the key like is missing"),
        ("rinalmo-nano", "rinalmo-nan", r"Did you mean 'rinalmo-nano'\?"),
        ("num_layers", "num_layer", r"unknown key 'num_layer'.* Did you mean 'num_layers'\?"),
        ("peak", "peek", r"Did you mean 'peak'\?"),
        ("0.01", "fast", "peak is 'fast', and must be a number"),
        ("40", "41", "do not divide"),
        ("like:", "name: 5\nlike:", "name"),
        ("rnaernie", "3", "recipe"),
        ("scaled", "sclaed", "no initial weights 'sclaed'.*There are: normal, scaled, neighbours"),
        ("architecture: {", "architecture: [", "cannot be read as YAML"),
        ("recipe: rnaernie", "recipe: bert\nrecipe: rnaernie", "the key 'recipe' stands twice"),
        ("num_layers: 2", "num_layers: 2, num_layers: 3", "the key 'num_layers' stands twice"),
        ("num_layers: 2", "vocab_size: 5, mask_id: 1", "5 embeddings for an alphabet of 22"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, message):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(UsageError, match=rf"(?s)mine\.yaml: .*{message}"):
        model_entry(str(path))


def test_a_number_that_yaml_takes_for_text(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace("0.01", "1e-4"))
    assert model_entry(str(path)).pretraining.optimization.peak == 1e-4


def test_numbers_of_the_architecture_too(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace("num_layers: 2", "norm_eps: 1e-6"))
    assert model_entry(str(path)).architecture.norm_eps == 1e-6


def test_a_recipe_is_looked_for_beside_the_file(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(GOOD.replace("rnaernie", "recipes/half.yaml"))
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "half.yaml").write_text("rate: 5e-1")
    monkeypatch.chdir(tmp_path / "recipes")
    for name in (str(tmp_path / "mine.yaml"), "../mine.yaml"):
        assert recipe(model_entry(name).pretraining.recipe).rate == 0.5
    (tmp_path / "mine.yaml").write_text(GOOD.replace("rnaernie", str(tmp_path / "absolute.yaml")))
    said = model_entry("../mine.yaml").pretraining.recipe
    assert said == str(tmp_path / "absolute.yaml")
    (tmp_path / "mine.yaml").write_text(GOOD.replace("rnaernie", "rnaerni"))
    with pytest.raises(UsageError, match="Did you mean 'rnaernie'"):
        recipe(model_entry("../mine.yaml").pretraining.recipe)


def test_a_floor_of_the_plan_gives_way(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace("0.01", "1e-6"))
    plan = model_entry(str(path)).pretraining.optimization
    assert (plan.peak, plan.floor) == (1e-6, 1e-6)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        model_entry(str(tmp_path / "none.yml"))
