"""Whose a checkpoint with BERT's names is."""

from __future__ import annotations

import json

import pytest

import riboswitch
from riboswitch.opening import identify

SMALL = {"hidden_size": 48, "num_layers": 1, "num_heads": 4, "feed_forward_size": 64}


def saved(folder, name="splicebert", architecture=SMALL):
    model = riboswitch.load(name, weights="random", architecture=architecture)
    model.save(folder, layout="splicebert")
    return folder


def test_positions_tell_which_model(tmp_path):
    names = ("splicebert", "splicebert-510", "splicebert-human-510")
    found = [identify(saved(tmp_path / name, name)) for name in names]
    assert found == ["splicebert", "splicebert-510", "splicebert-510"]


def test_a_name_that_is_given_counts(tmp_path):
    folder = saved(tmp_path / "model", "splicebert-human-510")
    model = riboswitch.load("splicebert-human-510", weights=folder)
    assert model.entry.name == "splicebert-human-510"


@pytest.mark.parametrize("order", ["ACGTN", "NACGU"])
def test_another_vocabulary_is_another_model(tmp_path, order):
    folder = saved(tmp_path / "model")
    tokens = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *order)
    (folder / "vocab.txt").write_text("\n".join(tokens), "utf-8")
    with pytest.raises(riboswitch.CheckpointError, match="no known layout"):
        identify(folder)


def test_without_a_vocabulary_the_size_decides(tmp_path):
    small, released = saved(tmp_path / "small"), saved(tmp_path / "released", architecture={})
    for folder in (small, released):
        (folder / "vocab.txt").unlink()
    assert identify(released) == "splicebert"
    with pytest.raises(riboswitch.CheckpointError, match="no known layout"):
        identify(small)


@pytest.mark.parametrize("kind", ["roberta", "splicebert"])  # the second is MultiMolecule's
def test_another_kind_of_model_is_left_alone(tmp_path, kind):
    folder = saved(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "model_type": kind}), "utf-8")
    with pytest.raises(riboswitch.CheckpointError, match="no known layout"):
        identify(folder)
