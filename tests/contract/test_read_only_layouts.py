"""A layout that is only read keeps a contract of its own; broken ones fail it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from attrs import evolve

from riboswitch.errors import CheckpointError
from riboswitch.interfaces import Description, Draft, Form, Layout, Rule
from riboswitch.registry import registry
from riboswitch.testing import LayoutContract, ReadOnlyLayoutContract
from riboswitch.testing.layout_case import small
from riboswitch.testing.lively import lively_weights
from riboswitch.testing.openers import Held

ENTRY = small(registry().model("rnafm"))


def describe(checkpoint):
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    if "EMBEDDING.TOKENS" not in shapes:
        return None
    vocab, size = shapes["EMBEDDING.TOKENS"]
    layers = {name.split(".")[1] for name in shapes if name.startswith("LAYERS.")}
    if "LAYERS.0.FEED_FORWARD.UP.BIAS" not in shapes or "EMBEDDING.POSITIONS" not in shapes:
        raise CheckpointError(f"{checkpoint.path} is incomplete.")
    said = {
        "vocab_size": vocab,
        "hidden_size": size,
        "num_layers": len(layers),
        "feed_forward_size": shapes["LAYERS.0.FEED_FORWARD.UP.BIAS"][0],
        "max_positions": shapes["EMBEDDING.POSITIONS"][0],
    }
    return Description(family="rnafm", changes=said)


def rules(architecture, checkpoint):
    return [Rule(canonical=n, file=n.upper()) for n in architecture.parameter_shapes()]


def written(path: Path) -> None:
    weights = lively_weights(ENTRY.architecture)
    tensors = {n.upper(): Held(w.shape, "float32", w) for n, w in weights.items()}
    registry().write_checkpoint(path, Draft(container="safetensors", tensors=tensors))


SHOUTING = Layout(name="shouting", plain=str, describe=describe, rules=rules)


class Contract(ReadOnlyLayoutContract):
    __test__ = False
    layout = "shouting"
    examples: ClassVar = {"rnafm": written}
    architecture: ClassVar = {"num_heads": 4}


class TestShouting(Contract):
    __test__ = True
    exempt: ClassVar = {
        "test_announcing_it_imports_no_framework": "it is installed in this process alone"
    }

    @pytest.fixture(autouse=True)
    def _installed(self, install):
        install(riboswitch_layouts=lambda: [SHOUTING])


def finding(change: Callable) -> dict[str, object]:
    """Change what is said of a checkpoint, or say something of others' too."""
    return {"describe": lambda checkpoint: change(checkpoint, describe(checkpoint))}


def ruling(**files: str) -> dict[str, object]:
    """Take other tensors for some weights."""

    def changed(architecture, checkpoint):
        for rule in rules(architecture, checkpoint):
            other = files.get(rule.canonical.rpartition(".")[2], "")
            if other and not (checkpoint.tensors.keys() >= {rule.file} and other[0] == "?"):
                file = rule.canonical.rpartition(".")[0] + "." + other.strip("?")
                yield evolve(rule, file=file.upper())
            else:
                yield rule

    return {"rules": changed, "derived": (".*",)}


def swapped(architecture, checkpoint):
    for rule in rules(architecture, checkpoint):
        file = rule.file.replace(".KEY.", ".QUERY.") if "LAYERS.1" in rule.file else rule.file
        yield evolve(rule, file=file)


def shorter(architecture, checkpoint):
    return [r for r in rules(architecture, checkpoint) if "FINAL" not in r.file]


MUTANTS: dict[str, tuple[dict[str, object], str]] = {
    "is written": ({"form": lambda e: Form(container="safetensors")}, "it_is_registered"),
    "is written after all": (
        {"form": lambda e: Form(container="safetensors")},
        "writing_it_is_a_clear_error",
    ),
    "can be converted to": (
        {"form": lambda e: Form(container="safetensors")},
        "converting_into_it_is_a_clear_error",
    ),
    "recognises nothing": (finding(lambda c, found: None), "examples_are_recognised"),
    "says another family": (
        finding(lambda c, found: found and evolve(found, family="rinalmo")),
        "examples_are_recognised",
    ),
    "takes anything": (
        finding(
            lambda c, found: (
                found or Description(family="rnafm", changes={"hidden_size": 8, "num_layers": 2})
            )
        ),
        "files_of_other_layouts_are_left_to_others",
    ),
    "breaks on others": (
        finding(lambda c, found: c.tensors["EMBEDDING.TOKENS"] and found),
        "files_of_other_layouts_are_left_to_others",
    ),
    "is broken by nothing": (
        finding(lambda c, found: found if c.tensors else 1 / 0),
        "files_of_other_layouts_are_left_to_others",
    ),
    "takes a tensor twice": (
        {"rules": swapped, "derived": (r"LAYERS\.1\..*KEY",)},
        "all_weights_are_canonical",
    ),
    "lacks a rule": ({"rules": shorter}, "all_weights_are_canonical"),
    "makes up what is missing": (ruling(bias="?weight"), "a_missing_tensor_is_an_error"),
    "says too few heads": (
        finding(lambda c, found: found and evolve(found, changes={"hidden_size": 4})),
        "they_convert_to_our_own_layout",
    ),
    "forgets what it saw": ({"rules": shorter}, "they_convert_to_our_own_layout"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_one_fails(install, mutant, tmp_path):
    changes, test = MUTANTS[mutant]
    install(riboswitch_layouts=lambda: [evolve(SHOUTING, **changes)])
    function = getattr(Contract(), f"test_{test}")
    known = {"tmp_path": tmp_path}
    with pytest.raises((Exception, pytest.fail.Exception)):  # whatever it runs into
        function(**{name: known[name] for name in inspect.signature(function).parameters})


def test_another_name_is_noticed(plant):
    plant(evolve(SHOUTING, name="other"), "shouting")
    with pytest.raises(AssertionError):
        Contract().test_it_is_registered()


def test_an_example_is_needed(install, tmp_path):
    install(riboswitch_layouts=lambda: [SHOUTING])
    contract = type("TestBroken", (Contract,), {"examples": {}})()
    with pytest.raises(AssertionError, match="state `examples`"):
        contract.test_examples_are_recognised(tmp_path)


def test_an_example_that_another_layout_takes_is_noticed(install, tmp_path):
    greedy = evolve(SHOUTING, name="greedy")
    install(riboswitch_layouts=lambda: [SHOUTING, greedy])
    with pytest.raises(pytest.fail.Exception, match="greedy takes the example rnafm for its own"):
        Contract().test_no_other_layout_takes_them_for_its_own(tmp_path)


def test_a_file_that_may_be_cut_short_is_noticed(install, tmp_path, monkeypatch):
    install(riboswitch_layouts=lambda: [SHOUTING])
    monkeypatch.setattr("riboswitch.testing.layout_read.convert", lambda *a, **k: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        Contract().test_a_file_cut_short_is_one_error(tmp_path)


def test_a_written_layout_has_another_contract(install):
    install(riboswitch_layouts=lambda: [SHOUTING])
    contract = type("TestWritten", (LayoutContract,), {"layout": "shouting"})()
    with pytest.raises(AssertionError, match="take ReadOnlyLayoutContract"):
        contract.test_it_is_registered()


def test_files_and_folders_are_examples(install, tmp_path):
    install(riboswitch_layouts=lambda: [SHOUTING])
    (tmp_path / "folder").mkdir()
    written(tmp_path / "folder" / "model.safetensors")
    examples = (tmp_path / "folder", str(tmp_path / "folder" / "model.safetensors"))
    for number, example in enumerate(examples):
        contract = type("TestPlace", (Contract,), {"examples": {"rnafm": example}})()
        (home := tmp_path / str(number)).mkdir()
        contract.test_a_file_cut_short_is_one_error(home)
