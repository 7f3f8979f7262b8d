"""Every way in which a family's files are written opens, and gives the same numbers."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import riboswitch
from riboswitch.registry import registry

TEXTS = ["GGGUGCGAUCAUACC", "ACGU"]
HEADS = {"num_heads": 20}


def tensors(path: Path) -> dict[str, np.ndarray]:
    found = registry().open_checkpoint(path).tensors
    return {name: np.array(tensor.read()) for name, tensor in found.items()}


def logits(path: Path, name: str, **options: object) -> np.ndarray:
    model = riboswitch.load(name, weights=path, backend="numpy", dtype="float64", **options)
    outputs = ("logits",) if model.architecture.lm_head else ("representation",)
    return np.concatenate(getattr(model.forward(TEXTS, outputs), outputs[0]))


@pytest.fixture
def rewritten(tmp_path: Path) -> Callable[..., Path]:
    """Write a checkpoint again under other names."""

    def write(path: Path, rename: Callable[[str], str | None], **more: np.ndarray) -> Path:
        renamed = {rename(n): t for n, t in tensors(path).items()}
        kept = {n: np.ascontiguousarray(t) for n, t in renamed.items() if n}
        save_file({**kept, **more}, tmp_path / "model.safetensors")
        return tmp_path / "model.safetensors"

    return write


@pytest.mark.parametrize(
    "prefix", ["encoder.sentence_encoder.", "encoder.encoder.", "encoder.", "backbone."]
)
def test_rnafm_under_every_prefix(fixtures, rewritten, prefix: str) -> None:
    path = fixtures / "rnafm" / "RNA-FM_pretrained.pth"

    def rename(name: str) -> str:
        return name.replace("encoder.sentence_encoder.", prefix)

    found = logits(rewritten(path, rename), "rnafm", architecture={"num_heads": 4})
    np.testing.assert_array_equal(found, logits(path, "rnafm"))


@pytest.mark.parametrize("lacking", ["embed_positions", "a row of embed_tokens"])
def test_what_only_has_the_names_of_rnafm_is_left_to_others(fixtures, rewritten, lacking) -> None:
    path, more = fixtures / "rnafm" / "RNA-FM_pretrained.pth", {}
    if "row" in lacking:
        name = "encoder.sentence_encoder.embed_tokens.weight"
        more = {name: np.ascontiguousarray(tensors(path)[name][1:])}
    made = rewritten(path, lambda name: None if lacking in name else name, **more)
    with pytest.raises(riboswitch.CheckpointError, match="no known layout has these tensors"):
        logits(made, "rnafm")


def test_rnafm_with_and_without_what_is_no_encoder(fixtures, rewritten) -> None:
    path = fixtures / "rnafm" / "RNA-FM_pretrained.pth"
    extra = {"encoder.contact_head.regression.weight": np.ones((1, 8), np.float32)}
    with_head = rewritten(path, lambda n: n, **extra)
    np.testing.assert_array_equal(
        logits(with_head, "rnafm", architecture={"num_heads": 4}), logits(path, "rnafm")
    )
    bare = rewritten(path, lambda n: None if "lm_head" in n else n)
    model = riboswitch.load("rnafm", weights=bare, backend="numpy", architecture={"num_heads": 4})
    with pytest.raises(riboswitch.UsageError, match="no output 'logits'"):
        model.forward(TEXTS, ("logits",))


def test_rinalmo_without_flash_attention(fixtures, rewritten) -> None:
    path = fixtures / "rinalmo" / "rinalmo_tiny_pretrained.pt"
    more = {}
    for name, tensor in tensors(path).items():
        if "Wqkv" in name:
            block = name.replace("mh_attn.Wqkv.weight", "mh_attn.mh_attn.")
            parts = dict(zip("qkv", np.split(tensor, 3), strict=True))
            more |= {f"{block}to_{p}.weight": np.ascontiguousarray(t) for p, t in parts.items()}
            more[f"{name.partition('mh_attn')[0]}mh_attn.rotary_emb.inv_freq"] = np.ones(2, "f4")

    def rename(name: str) -> str | None:
        plain = name.replace("mh_attn.out_proj", "mh_attn.mh_attn.out_proj")
        return None if "Wqkv" in name else plain

    found = logits(rewritten(path, rename, **more), "rinalmo-micro", architecture=HEADS)
    np.testing.assert_array_equal(found, logits(path, "rinalmo-micro", architecture=HEADS))


@pytest.mark.parametrize("name", ["rinalmo_ft_ss", "rinalmo_ft_ncrna"])
def test_backbones_of_fine_tuned_rinalmo(fixtures, name: str) -> None:
    path = next((fixtures / name).glob("*.pt"))
    assert logits(path, "rinalmo-giga", architecture=HEADS).shape[1] in (22, 80)


ERNIE = json.dumps(
    {"num_attention_heads": 4, "hidden_act": "relu", "architectures": ["ErnieForMaskedLM"]}
)


@pytest.mark.parametrize(
    ("rename", "config"),
    [
        (lambda n: n, {"config.json": ERNIE}),
        (lambda n: n, {"model_config.json": f'{{"init_args": [{{"init_args": [{ERNIE}]}}]}}'}),
        (
            lambda n: n.replace("decoder.weight", "decoder_weight").replace(".decoder.bias", ".x"),
            {"config.json": ERNIE},
        ),
        (lambda n: n.replace("decoder_bias", "x"), {"config.json": ERNIE}),
    ],
    ids=["flat config", "nested config", "decoder_weight", "decoder.bias"],
)
def test_rnaernie_as_every_paddlenlp_writes_it(
    fixtures, rewritten, rename: Callable[[str], str], config: dict[str, str]
) -> None:
    source = fixtures / "rnaernie"

    def kept(name: str) -> str | None:
        return None if rename(name).endswith(".x") else rename(name)

    folder = rewritten(source, kept).parent
    for name, text in config.items():
        (folder / name).write_text(text)
    np.testing.assert_array_equal(logits(folder, "rnaernie"), logits(source, "rnaernie"))
    np.testing.assert_array_equal(
        logits(folder / "model.safetensors", "rnaernie"), logits(source, "rnaernie")
    )


def test_a_bare_rnaernie_encoder(fixtures, rewritten) -> None:
    source = fixtures / "rnaernie"
    strip = re.compile(r"^ernie\.")
    path = rewritten(source, lambda n: strip.sub("", n) if n.startswith("ernie") else None)
    (path.parent / "config.json").write_text(ERNIE)
    model = riboswitch.load("rnaernie", weights=path.parent, backend="numpy")
    whole = riboswitch.load("rnaernie", weights=source, backend="numpy")
    for a, b in zip(model.embed(TEXTS), whole.embed(TEXTS), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_fine_tuned_rnaernie_gives_its_encoder(fixtures, rewritten) -> None:
    source = fixtures / "rnaernie"
    head = {"classifier.weight": np.ones((48, 3), np.float32)}
    path = rewritten(source, lambda n: n if n.startswith("ernie") else None, **head)
    (path.parent / "config.json").write_text(ERNIE)
    model = riboswitch.load("rnaernie", weights=path.parent, backend="numpy")
    whole = riboswitch.load("rnaernie", weights=source, backend="numpy")
    for a, b in zip(model.embed(TEXTS), whole.embed(TEXTS), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("k", [2, 3])
def test_rnaernie_with_a_vocabulary_of_kmers(fixtures, rewritten, k: int) -> None:
    source = fixtures / "rnaernie"
    special = (source / "vocab_1MER.txt").read_text().split()[:35]
    words = ["".join(w) for w in itertools.product("ATCG", repeat=k)]
    size = len(special) + len(words)
    rng = np.random.default_rng(0)
    table = rng.standard_normal((size, 48)).astype(np.float32)
    bias = {"cls.predictions.decoder_bias": np.zeros(size, np.float32)}
    other = {"ernie.embeddings.word_embeddings.weight": table, **bias}

    def rename(name: str) -> str | None:
        return None if "decoder" in name or "word_embeddings" in name else name

    folder = rewritten(source, rename, **other).parent
    (folder / "config.json").write_text(ERNIE)
    (folder / f"vocab_{k}MER.txt").write_text("\n".join([*special, *words]))
    model = riboswitch.load("rnaernie", weights=folder, backend="numpy")
    assert (model.alphabet.k, model.alphabet.stride, len(model.alphabet)) == (k, 1, size)
    assert [len(a) for a in model.embed(TEXTS)] == [len(t) - k + 1 for t in TEXTS]
    assert "tRNA" in model.alphabet.types


@pytest.mark.parametrize(
    ("case", "copy"),
    [
        ("rnafm/RNA-FM_pretrained.pth", "encoder.lm_head.weight"),
        ("rnaernie", "cls.predictions.decoder.weight"),
        ("rnaernie", "cls.predictions.decoder.bias"),
    ],
)
def test_a_decoder_that_is_not_the_embedding_is_refused(fixtures, rewritten, case, copy) -> None:
    source = fixtures / case
    changed = tensors(source)[copy].copy()
    changed.flat[0] += 1
    path = rewritten(source, lambda n: None if n == copy else n, **{copy: changed})
    (path.parent / "config.json").write_text(ERNIE)
    with pytest.raises(riboswitch.CheckpointError, match="differs from"):
        riboswitch.load(case.partition("/")[0], weights=path, backend="numpy",
                        architecture={"num_heads": 4})  # fmt: skip


def test_damaged_folders_are_one_clear_error(fixtures, tmp_path) -> None:
    source = fixtures / "rnaernie"
    for number, (name, content) in enumerate(
        [
            ("model_config.json", b"{"),
            ("model_config.json", b"[1]"),
            ("model_config.json", b"[" * 100000),
            ("model_config.json", b'{"num_attention_heads": -1}'),
            ("model_config.json", b'{"num_attention_heads": 1e400}'),
            ("vocab_1MER.txt", b"\xff\xfe"),
            ("vocab_1MER.txt", b"A C G T"),
            ("vocab_1MER.txt", b"[PAD] [UNK] [CLS] [SEP] [MASK] A A"),
        ]
    ):
        folder = tmp_path / str(number)
        shutil.copytree(source, folder)
        (folder / name).write_bytes(content)
        with pytest.raises(riboswitch.CheckpointError):
            riboswitch.load("rnaernie", weights=folder, backend="numpy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(riboswitch.CheckpointError, match="holds no checkpoint"):
        riboswitch.load("rnaernie", weights=tmp_path / "empty", backend="numpy")
    (tmp_path / "empty" / "model_state.pdparams.index.json").touch()
    with pytest.raises(riboswitch.CheckpointError, match="in several shards"):
        riboswitch.load("rnaernie", weights=tmp_path / "empty", backend="numpy")


def test_a_prompt_for_multimolecules_alphabet_says_why_not() -> None:
    from riboswitch_adapters.layouts.multimolecule import NUCLEOTIDES

    with pytest.raises(riboswitch.UsageError, match="MultiMolecule's copy has lost them"):
        NUCLEOTIDES.encode(["ACGU"], prompt="tRNA")


def test_two_names_for_one_weight_are_refused(fixtures, rewritten) -> None:
    path = fixtures / "rnafm" / "RNA-FM_pretrained.pth"
    name = "backbone.layers.0.fc1.weight"
    twice = rewritten(path, lambda n: n, **{name: np.zeros((80, 40), np.float32)})
    with pytest.raises(riboswitch.CheckpointError, match=f"'{name}'.*one weight"):
        riboswitch.load("rnafm", weights=twice, backend="numpy", architecture={"num_heads": 4})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(fixtures, rewritten, value: float) -> None:
    path = fixtures / "rnafm" / "RNA-FM_pretrained.pth"
    name = "encoder.sentence_encoder.layers.0.fc1.weight"
    changed = tensors(path)[name]
    changed[3, 3] = value
    broken = rewritten(path, lambda n: None if n == name else n, **{name: changed})
    with pytest.raises(riboswitch.CheckpointError, match=r"layers\.0\.fc1\.weight.*not finite"):
        riboswitch.load("rnafm", weights=broken, backend="numpy", architecture={"num_heads": 4})


def test_a_loaded_model_does_not_change_with_its_file(fixtures, rewritten) -> None:
    path = rewritten(fixtures / "rnafm" / "RNA-FM_pretrained.pth", lambda n: n)
    options = {"backend": "numpy", "architecture": {"num_heads": 4}}
    model = riboswitch.load("rnafm", weights=path, **options)
    before = model.embed(TEXTS)[0].copy()
    with path.open("r+b") as file:
        file.seek(-4000, 2)
        file.write(b"\0" * 4000)
    np.testing.assert_array_equal(model.embed(TEXTS)[0], before)


def test_names_of_data_parallel_training(fixtures, rewritten) -> None:
    path = fixtures / "rinalmo" / "rinalmo_tiny_pretrained.pt"
    found = logits(rewritten(path, lambda n: f"module.{n}"), "rinalmo-micro", architecture=HEADS)
    np.testing.assert_array_equal(found, logits(path, "rinalmo-micro", architecture=HEADS))


def test_of_two_vocabularies_the_fitting_one_is_taken(fixtures, tmp_path) -> None:
    folder = tmp_path / "two"
    shutil.copytree(fixtures / "rnaernie", folder)
    (folder / "vocab_2MER.txt").write_text("[PAD] [UNK] [CLS] [SEP] [MASK] AA AC")
    np.testing.assert_array_equal(
        logits(folder, "rnaernie"), logits(fixtures / "rnaernie", "rnaernie")
    )
