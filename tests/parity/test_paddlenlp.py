"""The PaddleNLP backend computes what it does not refuse as the others do."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riboswitch import Architecture, BackendError, TokenBatch, load
from riboswitch.registry import refusal, registry
from riboswitch_paddlenlp.plugin import refuses

pytestmark = pytest.mark.peers_paddlenlp

needs_it = pytest.mark.backend("paddlenlp")
NAME = "paddlenlp"
OUTPUTS = ("representation", "logits", "hidden_states", "attentions", "pooled")
RNAERNIE = registry().models["rnaernie"].architecture
TIGHT = {"num_layers": 2, "hidden_size": 48, "num_heads": 4, "feed_forward_size": 80}
REFUSED = (
    {"positions": "rotary"},
    {"position_offset": 2},
    {"embedding_norm": False},
    {"norm": "pre"},
    {"norm": "stream"},
    {"norm_eps": 1e-5},
    {"final_norm": True},
    {"activation": "swiglu", "lm_head": False},
    {"attention_bias": False},
    {"token_dropout": 0.12},
    {"pooler": False},
    {"lm_activation": "gelu"},
    {"tied": False},
)
TAKEN = (
    {},
    {"activation": "gelu", "lm_activation": "gelu"},
    {"lm_head": False, "tied": False, "lm_activation": "gelu"},
    {"token_types": 0},
    {"max_positions": 7, "mask_id": None, "rotary_base": 100.0},
)


@pytest.mark.parametrize("changes", REFUSED, ids=str)
def test_it_refuses_what_ernie_does_not_compute(changes):
    reason = refuses(RNAERNIE.evolve(changes))
    assert reason
    assert any(str(part) in reason for pair in changes.items() for part in pair)


@pytest.mark.parametrize("changes", TAKEN, ids=str)
def test_it_takes_what_ernie_computes(changes):
    assert refuses(RNAERNIE.evolve(changes)) is None


def test_rnaernie_is_the_one_model_that_it_takes():
    entry = registry().backends[NAME]
    taken = [m.name for m in registry().models.values() if not refusal(entry, m.architecture)]
    assert taken == ["rnaernie"]


def test_auto_never_takes_it():
    assert list(registry().backends)[-1] == NAME
    assert registry().able(RNAERNIE)[0] != NAME


@pytest.mark.parametrize("name", ["rnafm", "mrnafm", "rinalmo-nano"])
def test_another_model_is_refused_with_the_cure(name):
    """Here or not: it is not a matter of what is installed."""
    cure = r"cannot compute this model: ErnieModel .*\nTake one that can: .*numpy"
    with pytest.raises(BackendError, match=cure):
        load(name, backend=NAME, weights="random")


@needs_it
@pytest.mark.parametrize("name", ["rnaernie", "rnaernie_prompt"])
@pytest.mark.parametrize("prefix", ["", "masked_"])
def test_the_fixtures_agree(fixtures, tolerance, name, prefix):
    expected = dict(np.load(fixtures / name / "expected.npz"))
    pad = json.loads((fixtures / name / "meta.json").read_text())["pad"]
    tokens = TokenBatch.from_padded(expected[f"{prefix}tokens"], pad)
    for dtype, kind in (("float32", "fixture"), ("float64", "fixture in float32")):
        model = load("rnaernie", weights=fixtures / name, backend=NAME, dtype=dtype)
        out = model.forward(tokens, OUTPUTS)
        found = {f"{prefix}representation": out.representation, f"{prefix}logits": out.logits}
        if not prefix:
            found["embedding_output"] = [h[0] for h in out.hidden_states]
            found["layer1"] = [h[1] for h in out.hidden_states]
            found["attentions_last"] = [a[-1] for a in out.attentions]
            found["pooler"] = out.pooled
        assert found.keys() & expected.keys() >= {f"{prefix}representation", f"{prefix}logits"}
        for key in found.keys() & expected.keys():
            for array, padded in zip(found[key], expected[key], strict=True):
                real = padded[tuple(slice(n) for n in array.shape)]
                assert array.dtype == dtype
                np.testing.assert_allclose(array, real, rtol=0, atol=tolerance[kind, dtype])


@needs_it
@pytest.mark.filterwarnings("ignore::riboswitch.errors.UnknownLetterWarning")
def test_prompts_agree(fixtures, tolerance):
    path = fixtures / "rnaernie_prompt"
    meta = json.loads((path / "meta.json").read_text())
    models = [load("rnaernie", weights=path, backend=b, dtype="float32") for b in (NAME, "numpy")]
    found, expected = (m.embed(meta["sequences"], prompt=meta["prompt"]) for m in models)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance["fixture", "float32"])


@st.composite
def architectures(draw) -> Architecture:
    heads, size = draw(st.sampled_from([(1, 5), (2, 4), (3, 8)]))
    act = draw(st.sampled_from(["relu", "gelu"]))
    return RNAERNIE.evolve(
        {
            "vocab_size": 9,
            "hidden_size": heads * size,
            "num_layers": draw(st.integers(1, 3)),
            "num_heads": heads,
            "feed_forward_size": draw(st.sampled_from([1, 7, 16])),
            "max_positions": 13,
            "token_types": draw(st.sampled_from([0, 1, 3])),
            "activation": act,
            "lm_activation": act,
            "lm_head": draw(st.booleans()),
        }
    )


ids = st.lists(st.integers(0, 8), min_size=1, max_size=13)  # id 0 is a token like any other
batches = st.lists(ids, min_size=1, max_size=5).map(TokenBatch.from_sequences)


@needs_it
@settings(max_examples=30)
@given(architecture=architectures(), batch=batches, seed=st.integers(0, 3))
def test_any_such_architecture_agrees_with_numpy(build, tolerance, architecture, batch, seed):
    names = [n for n in OUTPUTS if n != "logits" or architecture.lm_head]
    judged = build("numpy", architecture, "float64", seed).forward(batch, names)
    for dtype in ("float32", "float64"):
        found = build(NAME, architecture, dtype, seed).forward(batch, names)
        assert list(found) == names
        for name, arrays in judged.items():
            for a, b in zip(found[name], arrays, strict=True):
                assert (a.shape, a.dtype) == (b.shape, dtype)
                atol = tolerance["backends", dtype]
                np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def model(small):
    return small("rnaernie", NAME, **TIGHT)


def mixed(count: int, longest: int) -> list[str]:
    rng = np.random.default_rng(0)
    lengths = np.geomspace(1, longest, count - 3).astype(int)
    lengths = rng.permutation([*lengths, *rng.choice(lengths, 3)])
    return ["".join(rng.choice([*"ACGU"], n)) for n in lengths]


def close(found, expected, atol: float) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


@needs_it
def test_long_groups_are_computed_piece_by_piece(model, monkeypatch, tolerance):
    from riboswitch_paddlenlp import backbone

    sequences = ["ACGUACGU"[i:] + "ACGUACGU"[:i] for i in range(7)]
    expected = model.forward(sequences, OUTPUTS)
    sizes = []
    encoder = backbone.encoder_of(model.backbone.module)
    hook = encoder.encoder.register_forward_pre_hook(lambda _, x: sizes.append(x[0].shape[0]))
    monkeypatch.setattr(backbone, "SCORES", 3 * 4 * 10**2)
    found = model.forward(sequences, OUTPUTS)
    hook.remove()
    assert sizes == [3, 3, 1]
    for name in OUTPUTS:
        close(getattr(found, name), getattr(expected, name), tolerance["batches", "float32"])


@needs_it
def test_it_is_told_its_cores_at_each_call(model, monkeypatch):
    from paddle.base import core

    told = []
    monkeypatch.setattr(core, "set_num_threads", told.append)
    monkeypatch.setattr(model.backend.threads, "cores", 3)
    with model.backend.single_thread():
        model.backbone.forward(model.alphabet.encode(["ACGU"]), ("logits",))
    model.backbone.forward(model.alphabet.encode(["ACGU"]), ("logits",))
    assert told == [1, 3]


@needs_it
@pytest.mark.parametrize("head", [True, False])
def test_the_module_is_theirs_and_in_evaluation_mode(small, head):
    from paddlenlp.transformers import ErnieForMaskedLM, ErnieModel

    module = small("rnaernie", NAME, lm_head=head).backbone.module
    assert type(module) is (ErnieForMaskedLM if head else ErnieModel)
    assert not any(layer.training for layer in [module, *module.sublayers()])


@needs_it
def test_its_weights_are_those_of_now(small):
    model = small("rnaernie", NAME, **TIGHT)
    weights = model.backbone.canonical()
    linear = model.backbone.module.ernie.encoder.layers[1].linear1
    linear.weight.set_value(linear.weight + 1.0)
    up = weights["layers.1.feed_forward.up.weight"]
    assert np.array_equal(up, linear.weight.numpy().T)
    assert not np.array_equal(up, model.weights["layers.1.feed_forward.up.weight"])


@needs_it
def test_a_module_of_other_parameters_is_refused_by_name(small, monkeypatch):
    from riboswitch_paddlenlp import backbone

    monkeypatch.setattr(backbone.ErnieForMaskedLM, "state_dict", lambda self: {"ernie.new": 0})
    with pytest.raises(BackendError, match=r"(?s)embedding.*beside the weights new.*2\.8\.1"):
        small("rnaernie", NAME, **TIGHT)


@needs_it
def test_starting_it_says_nothing_and_leaves_the_process_as_it_was():
    code = (
        "import logging, os, warnings\n"
        "from riboswitch.registry import registry\n"
        "registry().backend('numpy')\n"
        "filters, level = list(warnings.filters), logging.root.manager.disable\n"
        "assert registry().backend('paddlenlp').version.startswith('paddlenlp 2')\n"
        "assert warnings.filters == filters and 'OMP_NUM_THREADS' not in os.environ\n"
        "assert logging.root.manager.disable == level"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


STARTED_IN_A_THREAD = """
import threading
import riboswitch

def load():
    global model
    model = riboswitch.load("rnaernie", weights="random", backend="paddlenlp",
                            architecture={"num_layers": 1})

thread = threading.Thread(target=load)
thread.start()
thread.join()
assert model.embed(["ACGU"])[0].shape == (4, 768)
"""


@needs_it
def test_started_in_a_thread_it_computes_in_the_main_one() -> None:
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STARTED_IN_A_THREAD], check=True, timeout=120
    )
