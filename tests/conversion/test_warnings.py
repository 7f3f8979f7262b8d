"""What a conversion warns of, and where the warning points."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

import riboswitch
from riboswitch.conversion.convert import convert
from riboswitch.conversion.write import save
from riboswitch.errors import RiboswitchWarning, UnknownLetterWarning
from riboswitch.weights import LazyWeights


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


def test_a_licence_that_the_layout_cannot_hold_is_named(entry, draw, tmp_path):
    made = evolve(entry("rinalmo-giga", num_heads=20), licence="of somebody")
    with pytest.warns(RiboswitchWarning, match="the licence, which is: of somebody"):
        save(made, draw(made, "float32"), tmp_path / "new.pt", "rinalmo")


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


@pytest.mark.parametrize("method", ["embed", "forward"])
def test_warnings_of_letters_do_too(method):
    model = riboswitch.load("ribotiny", backend="numpy", weights="random")
    with pytest.warns(UnknownLetterWarning) as caught:
        getattr(model, method)(["ACGUPACGU"])
    with pytest.warns(UnknownLetterWarning) as too:
        model.alphabet.encode(["ACGUPACGU"])
    assert [Path(w.filename) for w in (*caught, *too)] == [Path(__file__)] * 2
