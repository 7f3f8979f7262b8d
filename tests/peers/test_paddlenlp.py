"""PaddleNLP, in which RNAErnie was trained: it loads what we write, and we load what it saves."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from riboswitch import load
from riboswitch.conversion.convert import convert
from riboswitch.registry import registry

pytestmark = [pytest.mark.backend("paddlenlp", "paddle"), pytest.mark.peers_paddlenlp]

SAMPLE = Path(__file__).parent.parent / "data" / "rnacentral_sample.fasta.gz"
KINDS = ("ErnieForMaskedLM", "ErnieModel")
SIZES = {"max_positions": 320, "num_layers": 3, "hidden_size": 60, "num_heads": 5}
SAVED = {
    "relu": {},
    "gelu": {"activation": "gelu", "lm_activation": "gelu"},
    "other sizes": {"token_types": 1, "max_positions": 513, "num_layers": 1, "num_heads": 10},
}
WAYS = {
    "from its own layout": (),
    "from ours": ("riboswitch",),
    "from MultiMolecule's": ("multimolecule",),
    "there and back": ("rnaernie", "riboswitch", "rnaernie"),
}
LINEAR = {
    "layers.{i}.attention.query": "ernie.encoder.layers.{i}.self_attn.q_proj",
    "layers.{i}.attention.key": "ernie.encoder.layers.{i}.self_attn.k_proj",
    "layers.{i}.attention.value": "ernie.encoder.layers.{i}.self_attn.v_proj",
    "layers.{i}.attention.output": "ernie.encoder.layers.{i}.self_attn.out_proj",
    "layers.{i}.feed_forward.up": "ernie.encoder.layers.{i}.linear1",
    "layers.{i}.feed_forward.down": "ernie.encoder.layers.{i}.linear2",
    "pooler": "ernie.pooler.dense",
    "lm_head.dense": "cls.predictions.transform",
}
NORMS = {
    "embedding.norm": "ernie.embeddings.layer_norm",
    "layers.{i}.attention.norm": "ernie.encoder.layers.{i}.norm1",
    "layers.{i}.feed_forward.norm": "ernie.encoder.layers.{i}.norm2",
    "lm_head.norm": "cls.predictions.layer_norm",
}
TABLES = {
    "embedding.tokens": "ernie.embeddings.word_embeddings.weight",
    "embedding.positions": "ernie.embeddings.position_embeddings.weight",
    "embedding.types": "ernie.embeddings.token_type_embeddings.weight",
    "lm_head.decoder.bias": "cls.predictions.decoder_bias",
}


@pytest.fixture(scope="module")
def nlp() -> SimpleNamespace:
    """PaddleNLP's transformers, imported as our backend does it: without its noise."""
    registry().backend("paddlenlp")
    from paddlenlp import transformers

    return transformers


@pytest.fixture
def said():
    """What PaddleNLP warns of while a test runs."""
    records: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: records.append(record.getMessage())
    logging.getLogger("PaddleNLP").addHandler(handler)
    yield records
    logging.getLogger("PaddleNLP").removeHandler(handler)


@pytest.fixture(scope="module")
def sequences() -> list[str]:
    """Real ones of all lengths."""
    records = gzip.decompress(SAMPLE.read_bytes()).decode().split(">")[1:]
    texts = ["".join(record.split("\n")[1:]) for record in records]
    fitting = sorted({t for t in texts if len(t) <= 318 and set(t) <= set("ACGU")}, key=len)
    return [*fitting[:: len(fitting) // 10], fitting[-1]]


def theirs(module, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Call it as its users do: with ids alone."""
    import paddle

    module.eval()
    tokens = paddle.to_tensor(ids[None].astype(np.int64))
    with paddle.no_grad():
        found = dict(zip(("representation", "pooled"), encoder(module)(tokens), strict=True))
        if hasattr(module, "cls"):
            found["logits"] = module(tokens)
    return {name: tensor.numpy()[0] for name, tensor in found.items()}


def encoder(module):
    return getattr(module, "ernie", module)


def agree(module, model, sequences, atol: float, *, head: bool = True) -> None:
    names = ["representation", "pooled", *(["logits"] if head else [])]
    tokens = model.alphabet.encode(sequences)
    ours = model.forward(tokens, names)
    for i, ids in enumerate(tokens):
        found = theirs(module, ids)
        assert found.keys() == set(names)
        for name, array in found.items():
            expected = getattr(ours, name)[i]
            np.testing.assert_allclose(array, expected, rtol=0, atol=atol, err_msg=name)


def canonical_of(state: dict[str, np.ndarray], layers: int) -> dict[str, np.ndarray]:
    """Canonical weights by a table of this test's own."""
    table = {canonical: (name, False) for canonical, name in TABLES.items()}
    for pairs, transposed in ((LINEAR, True), (NORMS, False)):
        for a, b in pairs.items():
            for i in range(layers if "{i}" in a else 1):
                name = b.format(i=i)
                table[f"{a.format(i=i)}.weight"] = (f"{name}.weight", transposed)
                table[f"{a.format(i=i)}.bias"] = (f"{name}.bias", False)
    return {c: state[n].T if turned else state[n] for c, (n, turned) in table.items() if n in state}


def state_of(module) -> dict[str, np.ndarray]:
    """Its parameters, under a model's names even where it is a bare encoder."""
    state = {n: p.astype("float32").numpy() for n, p in module.state_dict().items()}
    return {n if n.startswith(("ernie.", "cls.")) else f"ernie.{n}": a for n, a in state.items()}


def same_weights(model, module) -> None:
    expected = canonical_of(state_of(module), model.architecture.num_layers)
    assert set(model.weights) == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(model.weights[name], array), name


def lively_module(nlp, kind: str, *, act: str = "relu", dtype: str = "float32"):
    """A model of theirs whose every parameter matters."""
    import paddle

    config = nlp.ErnieConfig(
        vocab_size=39,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=80,
        hidden_act=act,
        max_position_embeddings=320,
        type_vocab_size=2,
    )
    module = getattr(nlp, kind)(config)
    rng = np.random.default_rng(3)
    for name, parameter in module.named_parameters():
        scale = 0.1 if parameter.ndim == 2 else 0.3
        drawn = rng.normal(float("norm.weight" in name or "norm1.weight" in name), scale)
        noise = rng.standard_normal(parameter.shape) * scale
        parameter.set_value(paddle.to_tensor((drawn + noise).astype(np.float32)))
    return module.to(dtype=dtype)


@pytest.mark.filterwarnings("ignore::riboswitch.errors.RiboswitchWarning")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ["rnaernie", "rnaernie_prompt"])
@pytest.mark.parametrize("kind", KINDS)
def test_they_load_what_we_convert(
    nlp, said, fixtures, sequences, tolerance, tmp_path, kind, case, way
):
    path = fixtures / case
    for number, layout in enumerate((*WAYS[way], "rnaernie")):
        target = tmp_path / str(number)
        convert(path, target, to=layout)
        path = target
    module = getattr(nlp, kind).from_pretrained(str(path))
    head = kind == "ErnieForMaskedLM"
    check_what_is_said(said, head=head)
    model = load("rnaernie", weights=path, backend="numpy")
    agree(module, model, sequences, tolerance["fixture", "float32"], head=head)
    if way != "from MultiMolecule's":
        first = load("rnaernie", weights=fixtures / case, backend="numpy")
        agree(module, first, sequences, tolerance["fixture", "float32"], head=head)


def check_what_is_said(said: list[str], *, head: bool) -> None:
    """Nothing was missing, and what a bare encoder leaves aside is the head."""
    if head:
        assert said == []
        return
    (words,) = said
    assert "were not used when initializing ErnieModel" in words
    unused = words.partition("[")[2].partition("]")[0]
    assert all(name.strip(" '").startswith("cls.predictions.") for name in unused.split(","))


@pytest.mark.parametrize("sizes", SAVED)
@pytest.mark.parametrize("backend", ["numpy", "paddlenlp"])
def test_they_load_what_we_save(nlp, said, small, sequences, tolerance, tmp_path, sizes, backend):
    model = small("rnaernie", backend, **{**SIZES, **SAVED[sizes]})
    model.save(tmp_path / "saved", layout="rnaernie")
    module = nlp.ErnieForMaskedLM.from_pretrained(str(tmp_path / "saved"))
    assert said == []
    same_weights(model, module)
    agree(module, model, sequences, tolerance["fixture", "float32"])


def test_they_load_random_weights_that_we_save(nlp, said, sequences, tolerance, tmp_path):
    sizes = {**SIZES, "feed_forward_size": 64}
    model = load("rnaernie", weights="random", architecture=sizes, backend="numpy", seed=5)
    model.save(tmp_path / "saved", layout="rnaernie")
    module = nlp.ErnieForMaskedLM.from_pretrained(str(tmp_path / "saved"))
    assert said == []
    agree(module, model, sequences, tolerance["fixture", "float32"])


def test_they_load_an_encoder_without_a_head(nlp, said, small, sequences, tolerance, tmp_path):
    model = small("rnaernie", "numpy", **SIZES, lm_head=False)
    model.save(tmp_path / "saved", layout="rnaernie")
    module = nlp.ErnieModel.from_pretrained(str(tmp_path / "saved"))
    assert said == []
    same_weights(model, module)
    agree(module, model, sequences, tolerance["fixture", "float32"], head=False)


def test_paddle_alone_reads_our_file(nlp, fixtures, sequences, tolerance, tmp_path):
    """As the authors' scripts do: `paddle.load`, then `set_state_dict`."""
    import paddle

    convert(fixtures / "rnaernie", tmp_path / "written", to="rnaernie")
    state = paddle.load(str(tmp_path / "written" / "model_state.pdparams"))
    assert all(isinstance(value, paddle.Tensor) for value in state.values())
    config = nlp.ErnieConfig.from_pretrained(str(tmp_path / "written"))
    module = nlp.ErnieForMaskedLM(config)
    assert module.set_state_dict(state) == ([], [])
    model = load("rnaernie", weights=fixtures / "rnaernie", backend="numpy")
    agree(module, model, sequences, tolerance["fixture", "float32"])


@pytest.mark.parametrize("safe", [False, True], ids=["pdparams", "safetensors"])
@pytest.mark.parametrize("act", ["relu", "gelu"])
@pytest.mark.parametrize("kind", KINDS)
def test_we_load_what_they_save(nlp, sequences, tolerance, tmp_path, kind, act, safe):
    module = lively_module(nlp, kind, act=act)
    module.save_pretrained(str(tmp_path / "saved"), safe_serialization=safe)
    model = load("rnaernie", weights=tmp_path / "saved", backend="numpy")
    same_weights(model, module)
    assert model.architecture.activation == act
    head = kind == "ErnieForMaskedLM"
    agree(module, model, sequences, tolerance["fixture", "float32"], head=head)


@pytest.mark.parametrize("safe", [False, True], ids=["pdparams", "safetensors"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_we_load_half_precision(nlp, tmp_path, dtype, safe):
    module = lively_module(nlp, "ErnieForMaskedLM", dtype=dtype)
    module.save_pretrained(str(tmp_path / "saved"), safe_serialization=safe)
    same_weights(load("rnaernie", weights=tmp_path / "saved", backend="numpy"), module)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_they_load_half_precision_that_we_convert(nlp, tmp_path, dtype):
    import paddle

    module = lively_module(nlp, "ErnieForMaskedLM", dtype=dtype)
    module.save_pretrained(str(tmp_path / "saved"))
    convert(tmp_path / "saved", tmp_path / "written", to="rnaernie")
    state = paddle.load(str(tmp_path / "written" / "model_state.pdparams"))
    expected = module.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in state.items():
        assert str(tensor.dtype) == f"paddle.{dtype}"
        assert (tensor == expected[name]).all(), name
    again = nlp.ErnieForMaskedLM.from_pretrained(str(tmp_path / "written"))
    wide, half = state_of(again), state_of(module)
    assert all(np.array_equal(wide[name], half[name]) for name in half)


HEADED = (
    "ErnieForPretraining",
    "ErnieForSequenceClassification",
    "ErnieForTokenClassification",
    "ErnieForQuestionAnswering",
)


@pytest.mark.parametrize("kind", HEADED)
def test_we_load_the_encoder_of_what_they_fine_tune(nlp, sequences, tolerance, tmp_path, kind):
    module = lively_module(nlp, kind)
    module.save_pretrained(str(tmp_path / "saved"))
    model = load("rnaernie", weights=tmp_path / "saved", backend="numpy")
    assert model.architecture.lm_head == (kind == "ErnieForPretraining")
    same_weights(model, module)
    agree(module.ernie, model, sequences, tolerance["fixture", "float32"], head=False)


def test_we_load_a_bare_state_dict(nlp, tmp_path):
    import paddle

    module = lively_module(nlp, "ErnieForMaskedLM")
    path = tmp_path / "trained.pdparams"
    paddle.save(module.state_dict(), str(path))
    heads = {"num_heads": 4}  # which no shape tells
    same_weights(load("rnaernie", weights=path, backend="numpy", architecture=heads), module)


def test_what_went_through_us_is_what_they_had(nlp, said, tmp_path):
    """Theirs, ours, theirs: not a bit is another."""
    module = lively_module(nlp, "ErnieForMaskedLM")
    module.save_pretrained(str(tmp_path / "saved"))
    convert(tmp_path / "saved", tmp_path / "ours", to="riboswitch")
    convert(tmp_path / "ours", tmp_path / "written", to="rnaernie")
    again = nlp.ErnieForMaskedLM.from_pretrained(str(tmp_path / "written"))
    assert said == []
    before, after = state_of(module), state_of(again)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_sequences_are_of_many_lengths(sequences):
    assert len(sequences) >= 10
    assert len(sequences[0]) < 30 < 250 < len(sequences[-1])
