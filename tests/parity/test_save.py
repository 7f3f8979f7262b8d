"""`Model.save`: what any backend holds now is what any backend loads."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import riboswitch

TEXTS = ["GGGUGCGAUCAUACC", "ACGU<mask>A"]
LAYOUTS = {"rnafm": "rnafm", "rinalmo-micro": "rinalmo-plain", "rnaernie": "rnaernie"}
FIXTURES = {
    "rnafm": "rnafm/RNA-FM_pretrained.pth",
    "rinalmo-micro": "rinalmo/rinalmo_tiny_pretrained.pt",
    "rnaernie": "rnaernie",
}


@pytest.fixture(params=FIXTURES)
def name(request) -> str:
    return str(request.param)


def read(name: str, path: Path, **options: object) -> riboswitch.Model:
    heads = {"num_heads": 20} if name == "rinalmo-micro" else {}  # its files do not say it
    return riboswitch.load(name, weights=path, architecture=heads, **options)


def outputs(model: riboswitch.Model) -> np.ndarray:
    found = model.forward(TEXTS, ("representation", "logits"))
    return np.concatenate([a.ravel() for a in (*found.representation, *found.logits)])


@pytest.mark.parametrize("own", [True, False])
def test_there_and_back(name, own, backend, fixtures, tmp_path) -> None:
    model = read(name, fixtures / FIXTURES[name], backend=backend)
    layout = "riboswitch" if own else LAYOUTS[name]
    model.save(tmp_path / "saved", layout)
    again = read(name, tmp_path / "saved", backend=backend)
    assert again.architecture == model.architecture
    assert again.alphabet == model.alphabet
    for weight, array in model.weights.items():
        np.testing.assert_array_equal(again.weights[weight], array, err_msg=weight)
    np.testing.assert_array_equal(outputs(again), outputs(model))


def trained(model: riboswitch.Model) -> None:
    """Change one number of a parameter as an optimiser would, in place."""
    if model.backend.name == "numpy":
        model.backbone.module.weights["layers.0.feed_forward.up.bias"][3] = 7
    elif model.backend.name == "torch":
        import torch

        with torch.no_grad():
            model.backbone.module.get_parameter("layers.0.feed_forward.up.bias")[3] = 7
    else:
        bias = model.backbone.module.layers[0].feed_forward.up.bias
        array = bias.numpy()
        array[3] = 7
        bias.set_value(array)


@pytest.mark.parametrize("mapped", [True, False])
def test_what_was_trained_is_saved(backend, mapped, fixtures, tmp_path) -> None:
    source = fixtures / FIXTURES["rnafm"]
    if mapped:
        riboswitch.convert(source, tmp_path / "own", "riboswitch")
        source = tmp_path / "own"
    model = riboswitch.load("rnafm", weights=source, backend=backend)
    before = {p: p.read_bytes() for p in source.iterdir()} if mapped else {}
    trained(model)
    model.save(tmp_path / "trained")
    again = riboswitch.load("rnafm", weights=tmp_path / "trained", backend="numpy")
    bias = again.weights["layers.0.feed_forward.up.bias"]
    assert bias[3] == 7
    np.testing.assert_allclose(outputs(again), outputs(model), rtol=0, atol=1e-4)
    assert all(path.read_bytes() == content for path, content in before.items())
    other = riboswitch.load("rnafm", weights=source, backend="numpy")
    assert other.weights["layers.0.feed_forward.up.bias"][3] != 7


@pytest.mark.backend("torch")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_the_dtype_that_a_model_has_is_saved(dtype, fixtures, tmp_path) -> None:
    from riboswitch.registry import registry

    source = fixtures / FIXTURES["rinalmo-micro"]
    model = read("rinalmo-micro", source, backend="torch", dtype=dtype)
    model.save(tmp_path / "saved")
    tensors = registry().open_checkpoint(tmp_path / "saved").tensors
    assert {t.dtype for t in tensors.values()} == {dtype}
    again = read("rinalmo-micro", tmp_path / "saved", backend="torch", dtype=dtype)
    np.testing.assert_array_equal(outputs(again), outputs(model))


def test_our_own_layout_is_mapped_not_copied(fixtures, tmp_path) -> None:
    riboswitch.convert(fixtures / FIXTURES["rnafm"], tmp_path / "own", "riboswitch")
    model = riboswitch.load("rnafm", weights=tmp_path / "own", backend="numpy")
    weights = model.backbone.module.weights
    homes = {name: _home(array) for name, array in weights.items()}
    assert all(home is not None for home in homes.values()), homes
    assert weights["layers.0.attention.qkv.weight"].flags.writeable


@pytest.mark.backend("torch")
def test_torch_shares_the_mapped_memory(fixtures, tmp_path) -> None:
    riboswitch.convert(fixtures / FIXTURES["rnafm"], tmp_path / "own", "riboswitch")
    model = riboswitch.load("rnafm", weights=tmp_path / "own", backend="torch")
    weights = model.weights
    tokens = weights["embedding.tokens"]
    there = model.backbone.module.embedding.tokens.weight.data_ptr()
    assert there == tokens.ctypes.data


def _home(array: object) -> object:
    import mmap

    while isinstance(array, np.ndarray):
        array = array.base
    home = array.obj if isinstance(array, memoryview) else array
    return home if isinstance(home, mmap.mmap) else None


def test_a_model_in_use_outlives_the_replacement_of_its_file(backend, fixtures, tmp_path) -> None:
    own = tmp_path / "own"
    riboswitch.convert(fixtures / FIXTURES["rnafm"], own, "riboswitch")
    model = riboswitch.load("rnafm", weights=own, backend=backend)
    before = outputs(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", riboswitch.RiboswitchWarning)
        other = riboswitch.load("rnafm", weights="random", backend="numpy",
                                architecture={"num_layers": 1, "hidden_size": 20})  # fmt: skip
        other.save(tmp_path / "other")
        riboswitch.convert(tmp_path / "other", own, "riboswitch", overwrite=True)
    np.testing.assert_array_equal(outputs(model), before)


def test_saving_over_something_is_refused(fixtures, tmp_path) -> None:
    model = riboswitch.load("rnaernie", weights=fixtures / "rnaernie", backend="numpy")
    model.save(tmp_path / "saved")
    with pytest.raises(riboswitch.UsageError, match="is there already"):
        model.save(Path(tmp_path / "saved"))
