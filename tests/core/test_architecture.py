from __future__ import annotations

import math

import attrs
import pytest

from riboswitch import Architecture, UsageError
from riboswitch.registry import registry

BASE = {
    "vocab_size": 9,
    "hidden_size": 8,
    "num_layers": 2,
    "num_heads": 2,
    "feed_forward_size": 5,
    "max_positions": 7,
}
LAYER = {
    "attention.query.weight": (8, 8),
    "attention.query.bias": (8,),
    "attention.key.weight": (8, 8),
    "attention.key.bias": (8,),
    "attention.value.weight": (8, 8),
    "attention.value.bias": (8,),
    "attention.output.weight": (8, 8),
    "attention.output.bias": (8,),
    "attention.norm.weight": (8,),
    "attention.norm.bias": (8,),
    "feed_forward.up.weight": (5, 8),
    "feed_forward.up.bias": (5,),
    "feed_forward.down.weight": (8, 5),
    "feed_forward.down.bias": (8,),
    "feed_forward.norm.weight": (8,),
    "feed_forward.norm.bias": (8,),
}
HEAD = {
    "lm_head.dense.weight": (8, 8),
    "lm_head.dense.bias": (8,),
    "lm_head.norm.weight": (8,),
    "lm_head.norm.bias": (8,),
    "lm_head.decoder.bias": (9,),
}
PLAIN = {
    "embedding.tokens": (9, 8),
    "embedding.positions": (7, 8),
    **{f"layers.{i}.{name}": shape for i in range(2) for name, shape in LAYER.items()},
    "final_norm.weight": (8,),
    "final_norm.bias": (8,),
    **HEAD,
}


def arch(**changes) -> Architecture:
    return Architecture(**{**BASE, **changes})


def test_the_canonical_names_and_shapes():
    assert arch().parameter_shapes() == PLAIN


@pytest.mark.parametrize(
    ("changes", "more", "fewer"),
    [
        ({"positions": "rotary"}, {}, {"embedding.positions"}),
        ({"token_types": 3}, {"embedding.types": (3, 8)}, set()),
        (
            {"embedding_norm": True},
            {"embedding.norm.weight": (8,), "embedding.norm.bias": (8,)},
            set(),
        ),
        ({"final_norm": False}, {}, {"final_norm.weight", "final_norm.bias"}),
        ({"pooler": True}, {"pooler.weight": (8, 8), "pooler.bias": (8,)}, set()),
        ({"tied": False}, {"lm_head.decoder.weight": (9, 8)}, set()),
        ({"lm_head": False}, {}, set(HEAD)),
        (
            {"activation": "swiglu"},
            {
                f"layers.{i}.feed_forward.{name}": shape
                for i in range(2)
                for name, shape in (("gate.weight", (5, 8)), ("gate.bias", (5,)), ("beta", ()))
            },
            set(),
        ),
        (
            {"attention_bias": False},
            {},
            {n for n in PLAIN if ".attention." in n and "norm" not in n and n.endswith("bias")},
        ),
        ({"norm": "post"}, {}, set()),
        ({"norm": "stream"}, {}, set()),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_each_part_brings_its_weights(changes, more, fewer):
    expected = {n: s for n, s in PLAIN.items() if n not in fewer} | more
    assert arch(**changes).parameter_shapes() == expected


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"num_heads": 3}, r'3 heads do not divide a hidden size of 8\.\n.*"num_heads"'),
        ({"max_positions": None}, "need max_positions"),
        ({"token_dropout": 0.12}, "needs mask_id"),
        ({"positions": "rotary", "num_heads": 8}, "even head size"),
        ({"hidden_siz": 8}, r"no 'hidden_siz'\.\nIt has: activation"),
        ({"num_layers": 0}, "num_layers"),
        ({"num_layers": 2.0}, "num_layers"),
        ({"hidden_size": "8"}, "hidden_size"),
        ({"norm": "middle"}, "norm"),
        ({"activation": "silu"}, "activation"),
        ({"positions": "alibi"}, "positions"),
        ({"tied": 1}, "tied"),
        ({"mask_id": -1}, "mask_id"),
    ],
    ids=str,
)
def test_an_architecture_that_cannot_be_is_refused(changes, what):
    with pytest.raises(UsageError, match=what):
        arch().evolve(changes)


def test_evolve_leaves_the_original_alone():
    before = arch()
    after = before.evolve({"num_heads": 4})
    assert (before.num_heads, after.num_heads) == (2, 4)
    assert after == arch(num_heads=4)
    assert before.evolve({}) == before


def test_architectures_cannot_be_changed():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        arch().num_heads = 4


@pytest.mark.parametrize(
    ("changes", "limit"),
    [({}, 7), ({"position_offset": 2}, 5), ({"positions": "rotary"}, None)],
    ids=str,
)
def test_the_longest_sequence(changes, limit):
    assert arch(**changes).max_tokens == limit


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("rnafm", 99.5),
        ("mrnafm", 239),
        ("rinalmo-giga", 650),
        ("rinalmo-mega", 150),
        ("rinalmo-micro", 33.5),
        ("rnaernie", 86),
    ],
)
def test_the_models_have_as_many_parameters_as_published(name, millions):
    a = registry().models[name].architecture
    assert a.num_parameters() == sum(map(math.prod, a.parameter_shapes().values()))
    assert a.num_parameters() / 1e6 == pytest.approx(millions, rel=0.015)
