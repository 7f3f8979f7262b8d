"""What a checkpoint says of itself: damaged, hostile, or of another model."""

from __future__ import annotations

import json
import shutil
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import riboswitch
from riboswitch.conversion.convert import convert
from riboswitch.conversion.write import save
from riboswitch.errors import CheckpointError, RiboswitchWarning


def quietly(function, *arguments: object, **options: object):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RiboswitchWarning)
        return function(*arguments, **options)


@pytest.mark.parametrize(
    ("to", "file", "old", "new"),
    [
        ("multimolecule", "config.json", '"hidden_act": "relu"', '"hidden_act": "gelu"'),
        ("multimolecule", "vocab.txt", "A\nC\n", "C\nA\n"),
        ("rnaernie", "model_config.json", '"num_attention_heads": 4', '"num_attention_heads": 2'),
        ("rnaernie", "vocab_1MER.txt", "A\nT\n", "T\nA\n"),
    ],
)
def test_a_description_that_is_damaged_is_noticed(entry, draw, to, file, old, new, tmp_path):
    made = entry("rnaernie")
    quietly(save, made, draw(made, "float32"), tmp_path / "new", to)
    text = (tmp_path / "new" / file).read_text()
    assert old in text
    (tmp_path / "new" / file).write_text(text.replace(old, new, 1))
    with pytest.raises(CheckpointError, match="another architecture or vocabulary"):
        riboswitch.load("rnaernie", weights=tmp_path / "new", backend="numpy")


def test_what_others_add_to_a_config_does_no_harm(entry, draw, tmp_path):
    made = entry("rnaernie")
    quietly(save, made, draw(made, "float32"), tmp_path / "new", "multimolecule")
    file = tmp_path / "new" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "auto_map": {"x": "y"}}))
    riboswitch.load("rnaernie", weights=tmp_path / "new", backend="numpy")


def test_the_description_of_another_model_is_noticed(entry, draw, tmp_path):
    for heads in (2, 4):
        made = entry("rnafm", num_heads=heads)
        save(made, draw(made, "float32"), tmp_path / str(heads), "riboswitch")
    shutil.copy(tmp_path / "2" / "riboswitch.json", tmp_path / "4")
    with pytest.raises(CheckpointError, match="another architecture or vocabulary"):
        riboswitch.load("rnafm", weights=tmp_path / "4", backend="numpy")


def own_config(folder: Path, **changes: object) -> None:
    """Change our own description as somebody would who means harm."""
    from riboswitch_adapters.layouts.riboswitch import _digest

    config = json.loads((folder / "riboswitch.json").read_text())
    for key, value in changes.items():
        home, _, name = key.rpartition("__")
        (config[home] if home else config)[name] = value
    config["sha256"] = _digest(config)
    (folder / "riboswitch.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture__num_layers": 1 << 20},
        {"architecture__num_layers": "2"},
        {"architecture__nonsense": 2},
        {"architecture": []},
        {"alphabet__k": 1.0},
        {"alphabet__k": float("nan")},
        {"alphabet__ind": []},
        {"alphabet__tokens": [1, 2]},
        {"alphabet__tokens": "ACGU"},
        {"alphabet__nonsense": 2},
        {"licence": "a\ud800b"},
        {"licence": "\x1b[31mfree"},
        {"model": None},
        {"version": True},
        {"version": 1.0},
        {"version": 2},
        {"family": "x"},
    ],
    ids=str,
)
def test_hostile_descriptions(entry, draw, changes, tmp_path):
    made = entry("rnafm")
    save(made, draw(made, "float32"), tmp_path / "own", "riboswitch")
    own_config(tmp_path / "own", **changes)
    start = time.process_time()
    with pytest.raises(CheckpointError):
        convert(tmp_path / "own", tmp_path / "new", "riboswitch")
    assert time.process_time() - start < 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("number", ["1048575", "9" * 5000])
def test_absurd_numbers_of_layers(entry, draw, number, tmp_path):
    made = entry("rinalmo-giga", num_heads=20)
    save(made, draw(made, "float32"), tmp_path / "own", "riboswitch")
    quietly(convert, tmp_path / "own", tmp_path / "mm", "multimolecule")
    file = tmp_path / "mm" / "model.safetensors"
    tensors = load_file(file)
    tensors[f"model.encoder.layer.{number}.output.dense.bias"] = np.zeros(3, "f4")
    save_file(tensors, file)
    start = time.process_time()
    with pytest.raises(CheckpointError):
        riboswitch.load("rinalmo-giga", weights=tmp_path / "mm", backend="numpy")
    assert time.process_time() - start < 1
