"""What reviewers found: odd models, odd files, and tables that do not fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import warnings
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from attrs import evolve
from safetensors.numpy import load_file, save_file

import riboswitch
from riboswitch import hookspecs
from riboswitch.conversion.convert import convert
from riboswitch.conversion.verify import SEQUENCES, Difference, _compute, _difference
from riboswitch.conversion.write import save
from riboswitch.errors import CheckpointError, RiboswitchWarning
from riboswitch.interfaces import Checkpoint, Description, Draft, Form, Layout, Rule
from riboswitch.plugins import installed
from riboswitch.registry import Registry, registry
from riboswitch.weights import LazyWeights, joined, owned


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


def test_mixed_dtypes_are_named_and_lose_no_number(entry, draw, tmp_path, bits):
    made = entry("rinalmo-giga", num_heads=20)
    dtypes = {"query": "float16", "key": "bfloat16", "value": "float32"}
    drawn = {d: draw(made, d) for d in dtypes.values()}
    of = {n: dtypes.get(n.split(".")[-2], "float32") for n in drawn["float32"]}
    weights = LazyWeights(of, lambda n: drawn[of[n]][n], of)
    save(made, weights, tmp_path / "plain.pt", "rinalmo-plain")
    options = {"architecture": {"num_heads": 20}, "verify": True}
    with pytest.warns(RiboswitchWarning, match=r"the dtypes of .*Wqkv"):
        report = convert(tmp_path / "plain.pt", tmp_path / "flash.pt", "rinalmo", **options)
    assert len(report.lost) == 2
    stacked = bits(tmp_path / "flash.pt")["transformer.blocks.0.mh_attn.Wqkv.weight"]
    assert stacked[0] == "float32"
    convert(tmp_path / "plain.pt", tmp_path / "own", "riboswitch", **options)
    assert bits(tmp_path / "own")["layers.0.attention.key.weight"][0] == "bfloat16"


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("most", [5, 60, 513])
def test_kmers_and_short_models_can_be_verified(entry, draw, k, most, tmp_path):
    import itertools

    made = entry("rnaernie", max_positions=most)
    special = [t for t in made.alphabet.tokens if t not in made.alphabet.words]
    words = ["".join(word) for word in itertools.product("ATCG", repeat=k)]
    alphabet = evolve(made.alphabet, tokens=(*special, *words), k=k)
    sizes = made.architecture.evolve({"vocab_size": len(alphabet)})
    made = evolve(made, alphabet=alphabet, architecture=sizes)
    save(made, draw(made, "float32"), tmp_path / "own", "riboswitch")
    report = convert(tmp_path / "own", tmp_path / "new", "rnaernie", verify=True)
    assert report.difference == Difference(representation=0.0, logits=0.0)
    assert riboswitch.load("rnaernie", weights=tmp_path / "new", backend="numpy").alphabet.k == k


def test_a_difference_is_the_largest_one(entry, draw):
    made = entry("rnafm")
    first = _compute(made, draw(made, "float32"))
    changed = dict(draw(made, "float32"))
    changed["lm_head.decoder.bias"] = changed["lm_head.decoder.bias"] + np.float32(0.25)
    found = _difference(first, _compute(made, LazyWeights(changed, changed.__getitem__)))
    assert found.representation == 0
    assert found.logits == pytest.approx(0.25, abs=1e-5)
    assert len(SEQUENCES) == 3


def test_a_licence_that_the_layout_cannot_hold_is_named(entry, draw, tmp_path):
    made = evolve(entry("rinalmo-giga", num_heads=20), licence="of somebody")
    with pytest.warns(RiboswitchWarning, match="the licence, which is: of somebody"):
        save(made, draw(made, "float32"), tmp_path / "new.pt", "rinalmo")


def test_the_frequencies_of_rinalmo_plain(entry, draw, bits, tmp_path):
    made = entry("rinalmo-giga", num_heads=2, hidden_size=16)
    quietly(save, made, draw(made, "float32"), tmp_path / "new.pt", "rinalmo-plain")
    name = "transformer.blocks.1.mh_attn.mh_attn.rotary_emb.inv_freq"
    dtype, shape, raw = bits(tmp_path / "new.pt")[name]
    assert (dtype, shape) == ("float32", (4,))
    np.testing.assert_allclose(np.frombuffer(raw, "f4"), [1, 0.1, 0.01, 0.001], rtol=1e-6)


@pytest.mark.parametrize("save_by_model", [True, False])
def test_warnings_point_at_the_caller(entry, draw, save_by_model, tmp_path):
    made = entry("rinalmo-micro", num_heads=5)
    save(made, draw(made, "float32"), tmp_path / "own", "riboswitch")
    model = riboswitch.load("rinalmo-micro", weights=tmp_path / "own", backend="numpy")
    with pytest.warns(RiboswitchWarning) as caught:
        if save_by_model:
            model.save(tmp_path / "new.pt", "rinalmo")
        else:
            riboswitch.convert(tmp_path / "own", tmp_path / "new.pt", "rinalmo")
    assert [Path(w.filename) for w in caught] == [Path(__file__)]


def test_arrays_are_joined_without_a_copy_only_where_they_follow_one_another(entry, draw, tmp_path):
    made = entry("rnafm")
    save(made, draw(made, "float32"), tmp_path / "own", "riboswitch")
    weights = riboswitch.load("rnafm", weights=tmp_path / "own", backend="numpy").weights
    q, k, v = (weights[f"layers.0.attention.{p}.weight"] for p in ("query", "key", "value"))
    read_only = q.view()
    read_only.flags.writeable = False
    for arrays, shared in (
        ([q, k, v], True),
        ([q, k], True),
        ([k, q, v], False),
        ([q, v], False),
        ([read_only, k, v], False),
        ([q, k.astype("f8"), v], False),
        ([q.copy(), k, v], False),
    ):
        found = joined(arrays)
        np.testing.assert_array_equal(found, np.concatenate(arrays))
        assert np.shares_memory(found, arrays[0]) == shared
    assert owned(q, np.float32) is q
    assert not np.shares_memory(owned(read_only, np.float32), q)


@pytest.mark.parametrize(
    "name", ["numpy", pytest.param("torch", marks=pytest.mark.backend("torch"))]
)
def test_what_canonical_shows_cannot_be_written_to(name, build, entry):
    backbone = build(name, entry("rnafm").architecture)
    shown = backbone.canonical()
    with pytest.raises(ValueError, match="read-only"):
        shown["final_norm.bias"][0] = 1
    other = (
        registry()
        .backend("numpy")
        .build(entry("rnafm").architecture, shown, device="cpu", dtype="float32")
    )
    before = np.array(shown["final_norm.bias"])
    other.weights["final_norm.bias"][0] = 99
    np.testing.assert_array_equal(backbone.canonical()["final_norm.bias"], before)


LENT = """
import threading
import numpy as np
from riboswitch.registry import registry
from riboswitch_adapters.tensors import to_paddle

registry().backend("paddle")
for _ in range(20):
    array, barrier, found = np.zeros(8, "f4"), threading.Barrier(2), []

    def convert():
        barrier.wait()
        found.append(to_paddle(array))

    threads = [threading.Thread(target=convert) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tensor.data_ptr() for tensor in found}) == 2
"""
STARTED_IN_A_THREAD = """
import threading
import riboswitch

def load():
    global model
    model = riboswitch.load("rinalmo-nano", weights="random", backend="paddle",
                            architecture={"num_layers": 1})

threads = [threading.Thread(target=load) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert model.embed(["ACGU"])[0].shape == (4, 320)
"""
STARTED_AND_LENT = (
    STARTED_IN_A_THREAD
    + """
import numpy as np
from riboswitch_adapters.tensors import to_paddle
assert to_paddle(np.ones(3, "f4")).sum() == 3
"""
)
THREADS = {"lent": LENT, "started": STARTED_IN_A_THREAD, "started-lent": STARTED_AND_LENT}


@pytest.mark.backend("paddle")
@pytest.mark.parametrize("script", THREADS.values(), ids=THREADS)
def test_paddle_and_threads(script: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)


class Shouting:
    """A stranger's plugin: a layout with names in capitals, in a container of its own."""

    MAGIC = b"SHOUT1"

    @staticmethod
    @hookspecs.impl
    def riboswitch_layouts() -> list[Layout]:
        def describe(checkpoint: Checkpoint) -> Description | None:
            if "EMBEDDING.TOKENS" not in checkpoint.tensors:
                return None
            vocab, size = checkpoint.tensors["EMBEDDING.TOKENS"].shape
            layers = {n.split(".")[1] for n in checkpoint.tensors if n.startswith("LAYERS.")}
            inner = checkpoint.tensors["LAYERS.0.FEED_FORWARD.UP.BIAS"].shape[0]
            rows = checkpoint.tensors["EMBEDDING.POSITIONS"].shape[0]
            said = {"vocab_size": vocab, "hidden_size": size, "num_layers": len(layers),
                    "feed_forward_size": inner, "max_positions": rows}  # fmt: skip
            return Description(family="rnafm", changes=said)

        def rules(architecture, checkpoint) -> list[Rule]:
            names = architecture.parameter_shapes()
            return [Rule(canonical=name, file=name.upper()) for name in names]

        return [
            Layout(
                name="shouting",
                plain=str,
                describe=describe,
                rules=rules,
                form=lambda entry: Form(container="shout"),
            )
        ]

    @classmethod
    @hookspecs.impl
    def riboswitch_open_checkpoint(cls, path: Path) -> Checkpoint | None:
        if not path.is_file() or path.read_bytes()[:6] != cls.MAGIC:
            return None
        if path.read_bytes().endswith(b"damaged"):
            raise CheckpointError(f"{path} is no longer shouting.\nFetch it again.")
        inner = path.with_suffix(".inner")
        inner.write_bytes(path.read_bytes()[6:])
        found = registry().open_checkpoint(inner)
        return evolve(found, path=str(path), container="shout")

    @classmethod
    @hookspecs.impl
    def riboswitch_write_checkpoint(cls, path: Path, draft: Draft) -> bool | None:
        if draft.container != "shout":
            return None
        inner = path.with_suffix(".inner")
        registry().write_checkpoint(inner, evolve(draft, container="safetensors"))
        path.write_bytes(cls.MAGIC + inner.read_bytes())
        return True


@pytest.fixture
def stranger(monkeypatch):
    """Another registry with the stranger's plugin in it."""
    monkeypatch.setitem(sys.modules, "strange", SimpleNamespace(shouting=Shouting))
    point = EntryPoint("shouting", "strange:shouting", "riboswitch")
    fresh = Registry([*installed(), point])
    homes = (
        "opening",
        "layouts",
        "conversion.plan",
        "conversion.write",
        "conversion.verify",
        "loading",
    )
    for home in homes:
        monkeypatch.setattr(f"riboswitch.{home}.registry", lambda: fresh)
    return fresh


def test_a_stranger_adds_a_layout_and_a_container(stranger, entry, draw, bits, tmp_path):
    made = entry("rnafm")
    save(made, draw(made, "float32"), tmp_path / "own", "riboswitch")
    with pytest.warns(RiboswitchWarning, match="num_heads = 4, to be given again"):
        there = convert(tmp_path / "own", tmp_path / "loud", "shouting", verify=True)
    heads = {"num_heads": 4}
    back = convert(tmp_path / "loud", tmp_path / "back", "riboswitch", architecture=heads)
    assert there.weights_sha256 == back.weights_sha256
    assert bits(tmp_path / "own") == bits(tmp_path / "back")
    with (tmp_path / "loud").open("ab") as file:
        file.write(b"damaged")
    with pytest.raises(CheckpointError, match="no longer shouting"):
        convert(tmp_path / "loud", tmp_path / "new", "riboswitch")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"copies": ("X",)}, "KeyError"),
        ({"texts": {"a": "b"}}, "no name for the tensors' file"),
        ({"config": {"a": 1}}, "no place for a config"),
        ({"container": "stone"}, "No installed plugin writes the container 'stone'"),
        ({"constants": {"X": np.zeros(2, "u2")}}, "X is of the dtype uint16, which is not written"),
    ],
)
def test_a_form_that_cannot_be_is_one_clear_error(
    stranger, entry, draw, changes, problem, tmp_path, monkeypatch, unfinished
):
    form = Form(container="safetensors")
    layout = evolve(stranger.layouts["shouting"], form=lambda entry: evolve(form, **changes))
    monkeypatch.setattr(stranger, "layouts", {"shouting": layout})
    made = entry("rnafm")
    with pytest.raises(CheckpointError, match=problem):
        save(made, draw(made, "float32"), tmp_path / "new", "shouting")
    assert not unfinished(tmp_path)


def test_a_broken_recogniser_harms_nobody(stranger, entry, draw, tmp_path, monkeypatch):
    def broken(checkpoint: Checkpoint) -> Description | None:
        raise KeyError("x")

    layout = evolve(stranger.layouts["shouting"], name="broken", describe=broken)
    first = {"broken": layout, **stranger.layouts}
    monkeypatch.setattr(stranger.layouts, "_found", first)
    stranger.layouts.owners["broken"] = stranger.plugins[-1]
    made = entry("rnafm")
    with pytest.warns(riboswitch.errors.PluginWarning, match="broken: KeyError"):
        save(made, draw(made, "float32"), tmp_path / "own", "riboswitch")


def test_the_lazy_names_are_those_that_type_checkers_see():
    import ast

    tree = ast.parse(Path(riboswitch.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {(f"riboswitch.{m}", n) for m, names in riboswitch._HOMES.items() for n in names}
    homes |= {("riboswitch", room) for room in riboswitch._ROOMS}
    assert seen == homes
