"""`load`: the models, backends and weights that it finds, and what it refuses."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from attrs import evolve

from riboswitch import (
    BackendError,
    CheckpointError,
    RiboswitchWarning,
    UsageError,
    load,
    models,
)
from riboswitch.opening import identify
from riboswitch.registry import registry
from riboswitch.training.checkpoint import save_model
from riboswitch.weights import random_weights

SMALL = {"num_layers": 2, "hidden_size": 24, "num_heads": 4, "feed_forward_size": 20}
RANDOM = {"weights": "random", "backend": "numpy", "architecture": SMALL}


def test_the_models_are_listed():
    expected = "rnafm mrnafm rinalmo-giga rinalmo-mega rinalmo-micro rinalmo-nano rnaernie"
    assert set(expected.split()) <= set(models())


def test_a_model_of_one_s_own_is_loaded_by_its_name(tmp_path):
    own = evolve(load("rnafm", **RANDOM).entry, name="mine")
    save_model(own, random_weights(own.architecture, 0), tmp_path / "mine")
    model = load("mine", weights=tmp_path / "mine", backend="numpy")
    assert (model.entry.name, model.architecture.hidden_size) == ("mine", 24)
    assert (
        load("rnafm", weights=tmp_path / "mine", backend="numpy").embed(["ACGU"])[0].shape[1] == 24
    )
    for weights in (tmp_path / "mine", tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="There is no model 'yours'"):
            load("yours", weights=weights, backend="numpy")


@pytest.mark.parametrize(
    ("name", "options", "error", "what"),
    [
        (
            "rnafn",
            {},
            UsageError,
            r"'rnafn'\.\nDid you mean 'rnafm'\? There are: .*rnaernie",
        ),
        ("zzz", {}, UsageError, r"no model 'zzz'\.\nThere are: "),
        (
            "rnafm",
            {"backend": "tortch"},
            BackendError,
            r"'tortch'\.\nDid you mean 'torch'",
        ),
        (
            "rnafm",
            {"dtype": "float8"},
            BackendError,
            r"in 'float8' .*\nIt can: float32",
        ),
        ("rnafm", {"device": "tpu"}, BackendError, r"no device 'tpu'\.\nIt has: cpu"),
        ("rnafm", {"architecture": {"heads": 4}}, UsageError, "no 'heads'"),
        ("rnafm", {"architecture": {"num_heads": 7}}, UsageError, "7 heads do not divide"),
        ("rinalmo-nano", {"weights": "released"}, UsageError, "No weights of 'rinalmo-nano'"),
        ("rnafm", {"weights": "/nowhere.pth"}, CheckpointError, "/nowhere.pth"),
    ],
    ids=str,
)
def test_load_refuses(name, options, error, what):
    with pytest.raises(error, match=what):
        load(name, **{"weights": "random", "backend": "numpy", **options})


def test_a_backend_that_is_not_installed_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("riboswitch.registry.missing", lambda entry: ["torch"])
    with pytest.raises(
        BackendError, match=r"'torch' needs torch.*\n.*pip install \"riboswitch\[torch\]"
    ):
        load("rnafm", backend="torch", weights="random")


def test_auto_takes_the_best_backend_that_is_installed(monkeypatch):
    monkeypatch.setattr(
        "riboswitch.registry.missing", lambda entry: [] if entry.name == "numpy" else ["x"]
    )
    assert load("rnafm", weights="random", architecture=SMALL).backend.name == "numpy"


def test_a_backend_that_breaks_at_its_start_is_named(plant):
    def broken():
        raise OSError("libcudart.so")

    plant(evolve(registry().backends["numpy"], load=broken, priority=1000))
    with pytest.raises(BackendError, match=r"fails to start: OSError: libcudart\.so\n.*pip"):
        load("rnafm", **RANDOM)


def test_released_weights_that_are_not_here_say_where_they_belong(monkeypatch, tmp_path):
    monkeypatch.setenv("RIBOSWITCH_CACHE", str(tmp_path))
    monkeypatch.setenv("RIBOSWITCH_OFFLINE", "1")
    place = re.escape(str(tmp_path / "rnafm" / "RNA-FM_pretrained.pth"))
    with pytest.raises(CheckpointError, match=rf"(?s)weights: MIT.*cuhkaih/rnafm.*{place}"):
        load("rnafm", backend="numpy")


def test_released_weights_are_found_in_the_cache(monkeypatch, tmp_path, fixtures):
    monkeypatch.setenv("RIBOSWITCH_CACHE", str(tmp_path))
    (tmp_path / "mrnafm").mkdir()
    shutil.copy(fixtures / "mrnafm" / "mRNA-FM_pretrained.pth", tmp_path / "mrnafm")
    assert load("mrnafm", backend="numpy").architecture.hidden_size == 32


def test_a_checkpoint_of_another_family_is_refused(fixtures):
    path = fixtures / "rnafm" / "RNA-FM_pretrained.pth"
    with pytest.raises(CheckpointError, match="'rinalmo-giga' is of 'rinalmo'"):
        load("rinalmo-giga", weights=path, backend="numpy")


def test_sizes_that_contradict_the_checkpoint_are_refused(fixtures):
    path = fixtures / "rnafm" / "RNA-FM_pretrained.pth"
    with pytest.raises(CheckpointError, match=r"fc1\.weight has the shape \(80, 40\)"):
        load("rnafm", weights=path, backend="numpy", architecture={"feed_forward_size": 81})
    with pytest.raises(CheckpointError, match="7 heads do not divide"):
        load("rnafm", weights=path, backend="numpy", architecture={"num_heads": 7})


@pytest.mark.parametrize(
    ("folder", "file", "name"),
    [
        ("rnafm", "RNA-FM_pretrained.pth", "rnafm"),
        ("mrnafm", "mRNA-FM_pretrained.pth", "mrnafm"),
        ("rinalmo", "rinalmo_tiny_pretrained.pt", "rinalmo-giga"),
        ("rnaernie", "", "rnaernie"),
    ],
)
def test_a_checkpoint_is_identified_by_its_content(fixtures, tmp_path, folder, file, name):
    source = fixtures / folder / file
    unnamed = tmp_path / "weights"
    (shutil.copy if file else shutil.copytree)(source, unnamed)
    assert identify(unnamed) == name


def test_overrides_change_what_the_checkpoint_does_not_say(fixtures):
    path = fixtures / "rinalmo" / "rinalmo_tiny_pretrained.pt"
    with pytest.warns(
        RiboswitchWarning, match=r"does not say.* heads; 20 is assumed.*\n.*num_heads"
    ):
        assert load("rinalmo-giga", weights=path, backend="numpy").architecture.num_heads == 20
    four = load("rinalmo-giga", weights=path, backend="numpy", architecture={"num_heads": 4})
    assert four.architecture.num_heads == 4


def test_random_weights_follow_the_seed():
    zero, again, one = (load("rnafm", **RANDOM, seed=s).embed(["ACGU"])[0] for s in (0, 0, 1))
    assert np.array_equal(zero, again)
    assert not np.allclose(zero, one, atol=1e-3)
