"""A stranger's layout, in a container of the stranger's own."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from attrs import evolve

import riboswitch
from riboswitch import hookspecs
from riboswitch.conversion.convert import convert
from riboswitch.conversion.write import save
from riboswitch.errors import CheckpointError, RiboswitchWarning
from riboswitch.interfaces import Checkpoint, Description, Draft, Form, Layout, Rule
from riboswitch.plugins import installed
from riboswitch.registry import Registry, registry


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
