"""A layout finds canonical weights in a checkpoint, and names what does not fit."""

from __future__ import annotations

import re

import numpy as np
import pytest
from attrs import evolve, frozen
from tests.core.architectures import ARCHITECTURE, SHAPES

from riboswitch import CheckpointError
from riboswitch.errors import PluginWarning
from riboswitch.interfaces import Checkpoint, Description, Layout, Rule
from riboswitch.layouts import checkpoint_weights, left_behind, recognise

SIZES = {"hidden_size": 8, "num_layers": 2}


@frozen
class Array:
    """A checkpoint's tensor that is here already."""

    array: np.ndarray

    @property
    def shape(self):
        return self.array.shape

    @property
    def dtype(self):
        return self.array.dtype.name

    def read(self):
        return self.array


def tensors(seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {n: Array(rng.standard_normal(s).astype("f4")) for n, s in SHAPES.items()}


def checkpoint(found: dict[str, Array]) -> Checkpoint:
    return Checkpoint(path="weights.pt", container="torch", tensors=found)


def rules(*changed: Rule) -> list[Rule]:
    table = {re.sub(r"layers\.\d+", "layers.{i}", n): None for n in SHAPES}
    ours = {n: Rule(canonical=n, file=n) for n in table}
    return [*(ours | {rule.canonical: rule for rule in changed}).values()]


def describe(found: Checkpoint) -> Description | None:
    ours = "lm_head.dense.bias" in found.tensors
    return Description(family="x", changes=SIZES) if ours else None


def layout(*changed: Rule, ignored: tuple[str, ...] = ()) -> Layout:
    return Layout(
        name="plain",
        plain=lambda name: name.removeprefix("model."),
        describe=lambda c: (
            Description(family="x", changes=SIZES) if "lm_head.dense.bias" in c.tensors else None
        ),
        rules=lambda architecture, found: rules(*changed),
        ignored=ignored,
    )


def load(found: dict[str, Array], *changed: Rule, ignored: tuple[str, ...] = ()):
    return checkpoint_weights(checkpoint(found), layout(*changed, ignored=ignored), ARCHITECTURE)


def test_every_weight_comes_under_its_canonical_name():
    found = tensors()
    weights = load(found)
    assert {n: w.shape for n, w in weights.items()} == SHAPES
    assert all(np.array_equal(weights[n], found[n].array) for n in SHAPES)
    with pytest.raises(KeyError):
        weights["embedding"]


def test_nothing_is_read_before_it_is_asked_for():
    @frozen
    class Unread(Array):
        def read(self):
            pytest.fail("read too early")

    weights = load({n: Unread(a.array) for n, a in tensors().items()})
    assert len(weights) == len(SHAPES)
    assert list(weights) == list(SHAPES)


@pytest.mark.parametrize(
    "name", ["embedding.tokens", "layers.1.feed_forward.beta", "final_norm.bias"]
)
def test_a_missing_tensor_is_named(name):
    found = tensors()
    del found[name]
    with pytest.raises(CheckpointError, match=rf"weights\.pt.*plain.*lacks {re.escape(name)}\."):
        load(found)


def test_an_unexpected_tensor_is_named():
    with pytest.raises(CheckpointError, match=r"does not know: layers\.2\.attention\.key\.bias\."):
        load({**tensors(), "layers.2.attention.key.bias": Array(np.zeros(8))})


def test_what_the_layout_ignores_may_be_there():
    more = {**tensors(), "head.out.weight": Array(np.zeros(8))}
    assert len(load(more, ignored=(r"^head\.",))) == len(SHAPES)
    with pytest.raises(CheckpointError, match=r"head\.out\.weight"):
        load(more, ignored=(r"^hea\.",))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("layers.0.feed_forward.up.weight", (8, 5)),
        ("final_norm.bias", (9,)),
        ("embedding.positions", (6, 8)),
        ("layers.1.attention.query.weight", (64,)),
    ],
)
def test_a_misshapen_tensor_is_named_with_both_shapes(name, shape):
    found = {**tensors(), name: Array(np.zeros(shape, "f4"))}
    expected = (
        rf"{re.escape(name)} has the shape {re.escape(str(shape))}.*{re.escape(str(SHAPES[name]))}"
    )
    with pytest.raises(CheckpointError, match=expected):
        load(found)


def test_many_names_are_shortened():
    found = {n: a for n, a in tensors().items() if "norm" not in n}
    with pytest.raises(CheckpointError, match=r"and 9 more\."):
        load(found)


def test_a_scalar_may_come_as_an_array_of_one():
    found = {**tensors(), "layers.0.feed_forward.beta": Array(np.full(1, 3.0, "f4"))}
    beta = load(found)["layers.0.feed_forward.beta"]
    assert (beta.shape, beta.item()) == ((), 3.0)


def test_a_rule_takes_its_block_of_rows():
    found = tensors()
    parts = [f"layers.{{i}}.attention.{p}.weight" for p in ("query", "key", "value")]
    for i in range(2):
        stacked = [found.pop(p.format(i=i)).array for p in parts]
        found[f"layers.{i}.qkv"] = Array(np.concatenate(stacked))
    table = [Rule(canonical=p, file="layers.{i}.qkv", part=(k, 3)) for k, p in enumerate(parts)]
    weights = load(found, *table)
    for name in SHAPES:
        assert np.array_equal(weights[name], tensors()[name].array)


def test_a_stack_of_the_wrong_height_is_refused():
    found = tensors()
    rule = Rule(canonical="layers.{i}.attention.query.weight", file="layers.{i}.q", part=(0, 3))
    for i in range(2):
        del found[f"layers.{i}.attention.query.weight"]
        found[f"layers.{i}.q"] = Array(np.zeros((16, 8), "f4"))
    with pytest.raises(CheckpointError, match=r"\(16, 8\).*\(24, 8\)"):
        load(found, rule)


def test_a_rule_transposes():
    found = tensors()
    name = "layers.1.feed_forward.up.weight"
    for i in range(2):
        key = f"layers.{i}.feed_forward.up.weight"
        found[key] = Array(found[key].array.T)
    rule = Rule(
        canonical="layers.{i}.feed_forward.up.weight",
        file="layers.{i}.feed_forward.up.weight",
        transpose=True,
    )
    assert np.array_equal(load(found, rule)[name], tensors()[name].array)


def test_a_rule_zeroes_a_row_and_leaves_the_file_alone():
    found = tensors()
    rule = Rule(canonical="embedding.tokens", file="embedding.tokens", zero_row=3)
    words = load(found, rule)["embedding.tokens"]
    expected = tensors()["embedding.tokens"].array
    assert np.array_equal(found["embedding.tokens"].array, expected)
    expected[3] = 0
    assert np.array_equal(words, expected)


def test_a_layout_without_a_rule_says_what_it_cannot_hold():
    lacking = evolve(
        layout(), rules=lambda a, c: [r for r in rules() if r.canonical != "embedding.types"]
    )
    with pytest.raises(
        CheckpointError, match=r"'plain' has no rule for embedding\.types\.\nIt cannot hold"
    ):
        checkpoint_weights(checkpoint(tensors()), lacking, ARCHITECTURE)


def test_a_layout_is_recognised_by_its_names_without_prefix():
    other = evolve(layout(), name="other", describe=lambda c: None)
    prefixed = checkpoint({f"model.{n}": a for n, a in tensors().items()})
    found, plain, description = recognise(prefixed, {"other": other, "plain": layout()})
    assert (found.name, description.family) == ("plain", "x")
    assert plain.tensors.keys() == SHAPES.keys()


def raising(error: Exception):
    def function(*arguments: object):
        raise error

    return function


def test_a_layout_that_knows_a_file_as_damaged_stops_nobody():
    strict = evolve(layout(), name="strict", describe=raising(CheckpointError("it is cut")))
    last = evolve(strict, name="last", describe=raising(CheckpointError("no idea")))
    found = recognise(checkpoint(tensors()), {"strict": strict, "plain": layout()})
    assert found[0].name == "plain"
    with pytest.raises(CheckpointError, match=r"^As the layout 'strict': it is cut$"):
        recognise(checkpoint(tensors()), {"strict": strict, "last": last})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"plain": raising(KeyError("x"))}, "KeyError: 'x'"),
        ({"describe": raising(ZeroDivisionError("x"))}, "ZeroDivisionError: x"),
        ({"describe": lambda c: {"family": "x"}}, "TypeError: describe returned dict"),
        (
            {"describe": lambda c: Description(family="x", changes={"num_layers": 2})},
            "ValueError: changes do not tell hidden_size",
        ),
    ],
)
def test_a_layout_that_breaks_stops_nobody(plant, changes, said):
    broken = evolve(layout(), name="broken", **changes)
    plant(broken)
    with pytest.warns(PluginWarning, match=f"of planted 0.*broken: {said}") as caught:
        for _ in range(2):
            found = recognise(checkpoint(tensors()), {"broken": broken, "sound": layout()})
    assert found[0].name == "plain"
    assert len(caught) == 1


def test_rules_that_break_are_one_clear_error():
    broken = evolve(layout(), rules=raising(KeyError("x")))
    with pytest.raises(CheckpointError, match=r"The layout 'plain' fails: KeyError: 'x'\nUpdate"):
        checkpoint_weights(checkpoint(tensors()), broken, ARCHITECTURE)


def test_the_layout_of_the_family_that_was_asked_for_is_taken():
    other = evolve(
        layout(), name="other", describe=lambda c: Description(family="y", changes=SIZES)
    )
    both = {"plain": layout(), "other": other}
    assert recognise(checkpoint(tensors()), both)[0].name == "plain"
    assert recognise(checkpoint(tensors()), both, "y")[0].name == "other"
    assert recognise(checkpoint(tensors()), both, "z")[0].name == "plain"


def test_a_copy_of_a_weight_may_stand_in_the_file():
    copied = evolve(layout(), copies=(("copy.1", "embedding.tokens"),))
    same = {**tensors(), "copy.1": tensors()["embedding.tokens"]}
    assert checkpoint_weights(checkpoint(same), copied, ARCHITECTURE)["embedding.tokens"].any()
    assert not left_behind(checkpoint(same), copied, ARCHITECTURE)
    with pytest.raises(CheckpointError, match=r"does not know: copy\.12"):
        more = {**same, "copy.12": same["copy.1"]}
        checkpoint_weights(checkpoint(more), copied, ARCHITECTURE)


def test_a_rule_with_a_misspelled_name_is_shown():
    wrong = [r for r in rules() if r.canonical != "embedding.types"]
    wrong.append(Rule(canonical="embedding.typse", file="embedding.types"))
    misspelled = evolve(layout(), rules=lambda a, c: wrong)
    with pytest.raises(CheckpointError, match=r"types; its rules name embedding\.typse, which the"):
        checkpoint_weights(checkpoint(tensors()), misspelled, ARCHITECTURE)


def test_a_checkpoint_of_no_layout_shows_its_names():
    with pytest.raises(CheckpointError, match=r"weights\.pt: .*: w…\nKnown layouts: plain"):
        recognise(checkpoint({"w": Array(np.zeros(1))}), {"plain": layout()})
