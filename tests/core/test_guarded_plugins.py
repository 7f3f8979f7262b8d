"""What a plugin does when it is used: it may fail, lie or be stopped, and harms nobody else."""

from __future__ import annotations

import re
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from attrs import evolve

import riboswitch
from riboswitch import BackendError, CheckpointError
from riboswitch.errors import PluginWarning
from riboswitch.interfaces import Draft, Layout, ModelEntry, Rule
from riboswitch.plugins import State
from riboswitch.registry import Registry, missing, registry

RNAFM = registry().models["rnafm"]
NUMPY = registry().backend("numpy")
NUMPY_ENTRY = registry().backends["numpy"]
SMALL = {"num_layers": 1, "hidden_size": 8, "num_heads": 2, "feed_forward_size": 8}


def wrapped(**changes) -> SimpleNamespace:
    """A backend that does as NumPy does, but for what it is given: wrapped(devices=…)."""
    parts = ("version", "devices", "dtypes", "build", "single_thread")
    same = {part: getattr(NUMPY, part) for part in parts}
    return SimpleNamespace(**{**same, "name": "odd", **changes})


class Odd:
    """A backbone that gives what a function makes of NumPy's results."""

    def __init__(self, backbone, change) -> None:
        self.module, self.canonical = backbone.module, backbone.canonical
        self.backbone, self.change = backbone, change

    def forward(self, batch, outputs):
        return self.change(self.backbone.forward(batch, outputs))


def raising(error: BaseException):
    def function(*_, **__):
        raise error

    return function


def load_odd(plant, **changes):
    backend = wrapped(**changes)
    plant(evolve(NUMPY_ENTRY, name="odd", priority=99, load=lambda: backend))
    return riboswitch.load("rnafm", backend="odd", weights="random", architecture=SMALL)


def odd_forward(plant, change):
    def build(*args, **options):
        return Odd(NUMPY.build(*args, **options), change)

    return load_odd(plant, build=build)


FILE = """
import pathlib
import riboswitch
from attrs import evolve
from riboswitch.registry import registry
flag = pathlib.Path(__file__).with_suffix(".flag")
def once():
    if not flag.exists():
        flag.touch()
        raise KeyboardInterrupt
%s
@riboswitch.impl
def riboswitch_models():
    %s
    return [evolve(registry().models["rnafm"], name="slow")]
"""


@pytest.mark.parametrize(("top", "inside"), [("once()", "pass"), ("", "once()")])
def test_what_is_interrupted_is_asked_again(points, tmp_path, monkeypatch, top, inside):
    (tmp_path / "interrupted_plugin.py").write_text(FILE % (top, inside))
    monkeypatch.delitem(sys.modules, "interrupted_plugin", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    good = points("good", riboswitch_models=lambda: [evolve(RNAFM, name="fine")])
    reg = Registry([points.named("slow", "interrupted_plugin"), good])
    with pytest.raises(KeyboardInterrupt):
        list(reg.models)
    assert list(reg.models) == ["slow", "fine"]
    assert [p.state for p in reg.plugins] == [State.LOADED, State.LOADED]


def test_a_test_that_skips_itself_is_no_reason_to_stop(points, tmp_path, monkeypatch):
    (tmp_path / "skipping_plugin.py").write_text("import pytest\npytest.importorskip('not_here')")
    monkeypatch.syspath_prepend(tmp_path)
    good = points("good", riboswitch_models=lambda: [evolve(RNAFM, name="fine")])
    reg = Registry([points.named("bad", "skipping_plugin"), good])
    with pytest.warns(PluginWarning, match="'bad'.*Skipped"):
        assert list(reg.models) == ["fine"]


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (raising(OSError("no library")), "fails to build the model: OSError: no library"),
        (raising(ValueError("no")), "fails to build the model: ValueError: no"),
        (lambda *_, **__: None, "build returned NoneType, which is no Backbone"),
    ],
)
def test_a_backend_that_cannot_build_is_named(plant, build, said):
    with pytest.raises(BackendError, match=said) as caught:
        load_odd(plant, build=build)
    assert "The backend 'odd' of planted 0 fails" in str(caught.value)
    assert "RIBOSWITCH_DISABLE_PLUGINS=planted" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (raising(ValueError("no")), "fails to compute rnafm: ValueError: no"),
        (lambda found: None, "TypeError"),
        (lambda found: [*found.values()], "TypeError"),
        (lambda found: {"states": [*found.values()]}, "KeyError: 'representation'"),
        (lambda found: {n: a[:-1] for n, a in found.items()}, "has 1 arrays for 2 sequences"),
        (
            lambda found: {n: [x[:-1] for x in a] for n, a in found.items()},
            r"has the shape \(\d+, 8\), and should have \(\d+, 8\)",
        ),
        (lambda found: {n: [x.tolist() for x in a] for n, a in found.items()}, "is no NumPy array"),
    ],
)
def test_what_a_backbone_gives_is_looked_at(plant, change, said):
    model = odd_forward(plant, change)
    with pytest.raises(BackendError, match=said):
        model.embed(["ACGU", "GGGAAACCC"])
    with pytest.raises(BackendError, match=said):
        model.forward(["ACGU", "GGGAAACCC"])


@pytest.mark.parametrize(
    "output", ["representation", "logits", "hidden_states", "attentions", "pooled"]
)
def test_each_output_has_its_shape(plant, output):
    architecture = {**SMALL, "pooler": True}
    model = riboswitch.load("rnafm", backend="numpy", weights="random", architecture=architecture)
    whole = model.forward(["ACGU", "GGC"], (output,))
    assert len(getattr(whole, output)) == 2

    def cut(found):
        return {n: [np.ascontiguousarray(x[..., :-1]) for x in a] for n, a in found.items()}

    odd = evolve(model, backbone=Odd(model.backbone, cut))
    with pytest.raises(BackendError, match=f"{output} has the shape"):
        odd.forward(["ACGU", "GGC"], (output,))


def test_memory_that_runs_out_and_c_pass(plant):
    for error in (MemoryError("much"), KeyboardInterrupt(), SystemExit(0)):
        model = odd_forward(plant, raising(error))
        with pytest.raises(type(error)):
            model.embed(["ACGU"])


@pytest.mark.parametrize(
    "changes",
    [
        {"devices": raising(OSError("no driver"))},
        {"devices": lambda: "cpu"},
        {"dtypes": lambda device: "float32"},
        {"dtypes": lambda device: ("float31",)},
        {"dtypes": lambda device: ()},
    ],
)
def test_auto_takes_another_where_the_best_does_not_say_where_it_runs(plant, changes):
    backend = wrapped(**changes)
    plant(evolve(NUMPY_ENTRY, name="odd", priority=99, load=lambda: backend))
    what = "devices" if "devices" in changes else "dtypes"
    with pytest.warns(PluginWarning, match=f"'odd' of planted 0 does not say its {what}"):
        model = riboswitch.load("rnafm", weights="random", architecture=SMALL)
    assert model.backend.name != "odd"
    with pytest.raises(BackendError, match=f"does not say its {what}.*\n.*DISABLE_PLUGINS"):
        load_odd(plant, **changes)


def test_requirements_are_not_imported(tmp_path, monkeypatch):
    for name, source in (("loud_framework", "raise RuntimeError"), ("calm_framework", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("loud_framework", "calm_framework"):
        assert missing(evolve(NUMPY_ENTRY, requires=(f"{name}.numpy", name))) == []
        assert name not in sys.modules


def test_a_broken_finder_is_no_end(monkeypatch):
    finder = ModuleType("finder")
    finder.find_spec = raising(RuntimeError("broken"))
    monkeypatch.setattr(sys, "meta_path", [finder])
    assert missing(evolve(NUMPY_ENTRY, requires=("not_here_either",))) == ["not_here_either"]


def test_the_next_writer_is_asked(points, tmp_path):
    def write(path, draft):
        path.write_text("written")
        return True

    bad = points("bad", riboswitch_write_checkpoint=raising(ZeroDivisionError()))
    reg = Registry([bad, points("good", riboswitch_write_checkpoint=write)])
    with pytest.warns(PluginWarning, match="'bad'.*riboswitch_write_checkpoint: ZeroDivision"):
        reg.write_checkpoint(tmp_path / "x", Draft(container="odd", tensors={}))
    assert (tmp_path / "x").read_text() == "written"


def test_a_writer_that_fails_is_named_when_no_other_writes(points, tmp_path):
    def half(path, draft):
        path.write_text("half")
        raise ZeroDivisionError("by 0")

    reg = Registry([points("bad", riboswitch_write_checkpoint=half)])
    said = "The plugin 'bad' of .* fails to write: ZeroDivisionError: by 0"
    with pytest.warns(PluginWarning), pytest.raises(CheckpointError, match=said):
        reg.write_checkpoint(tmp_path / "x", Draft(container="odd", tensors={}))
    assert not (tmp_path / "x").exists()


def test_what_asks_inside_of_an_interrupted_hook_loses_nothing(points):
    interrupts = [KeyboardInterrupt()]

    def nested():
        list(reg.models)
        if interrupts:
            raise interrupts.pop()
        return [evolve(RNAFM, name="a")]

    named = {n: points(n, riboswitch_models=lambda n=n: [evolve(RNAFM, name=n)]) for n in "bc"}
    reg = Registry([points("a", riboswitch_models=nested), named["b"], named["c"]])
    with pytest.raises(KeyboardInterrupt):
        list(reg.models)
    assert sorted(reg.models) == ["a", "b", "c"]
    assert {p.state for p in reg.plugins} == {State.LOADED}


def test_memory_that_runs_out_while_a_plugin_answers_is_its_fault(points):
    good = points("good", riboswitch_models=lambda: [evolve(RNAFM, name="fine")])
    reg = Registry([points("bad", riboswitch_models=raising(MemoryError())), good])
    with pytest.warns(PluginWarning, match="'bad'.*riboswitch_models: MemoryError"):
        assert list(reg.models) == ["fine"]


def test_a_tensor_that_cannot_be_read_is_the_file_s_fault(tmp_path, monkeypatch):
    model = riboswitch.load("rnafm", backend="numpy", weights="random", architecture=SMALL)
    model.save(tmp_path / "own")
    monkeypatch.setattr("riboswitch.layouts._apply", raising(ValueError("bad chunk")))
    with pytest.raises(CheckpointError, match=r"own: .* cannot be read: ValueError: bad chunk"):
        riboswitch.load("rnafm", backend="numpy", weights=tmp_path / "own")


@pytest.mark.parametrize("disabled", ["first:mine", "second:mine"])
def test_one_of_two_of_one_name_can_be_chosen(points, monkeypatch, disabled):
    monkeypatch.setenv("RIBOSWITCH_DISABLE_PLUGINS", disabled)
    monkeypatch.setattr("riboswitch.plugins._origin", lambda point: (point.value[:-7], "1"))
    found = [
        points("mine", f"{name}_plugin", riboswitch_models=lambda n=name: [evolve(RNAFM, name=n)])
        for name in ("first", "second")
    ]
    assert list(Registry(found).models) == [({"first", "second"} - {disabled[:-5]}).pop()]


def test_hooks_take_what_they_are_given(points):
    reg = Registry([points("bad", riboswitch_write_checkpoint=lambda path: True)])
    wanted = re.escape("riboswitch_write_checkpoint takes the arguments (path, draft)")
    with pytest.warns(PluginWarning, match=f"'bad'.*left out: TypeError: {wanted}"):
        assert [p.state for p in reg.plugins] == [State.LEFT_OUT]


def test_one_fault_in_many_files_is_said_once(points, tmp_path):
    reg = Registry([points("bad", riboswitch_open_checkpoint=lambda path: {}[str(path)])])
    with pytest.warns(PluginWarning) as caught:
        for number in range(5):
            with pytest.raises(CheckpointError):
                reg.open_checkpoint(tmp_path / str(number))
    assert len(caught) == 1
    assert len(reg.plugins[0].problems) == 1
    assert reg.plugins[0].state is State.LOADED


def test_a_fault_in_use_does_not_leave_the_plugin_out(points):
    layout = Layout(name="odd", plain=str, describe=lambda c: None, rules=lambda a, c: [])
    reg = Registry([points("half", riboswitch_layouts=lambda: [layout])])
    assert list(reg.layouts) == ["odd"]
    with pytest.warns(PluginWarning, match="'half' .*: odd: TypeError: x"):
        reg.blame(layout, "TypeError: x")
    assert (reg.plugins[0].state, reg.plugins[0].told) == (State.LOADED, "odd: TypeError: x")
    with pytest.raises(riboswitch.UsageError) as caught:
        reg.layout("ood")
    assert "left out" not in str(caught.value)


def test_our_own_errors_of_a_plugin_are_safe_to_print(points):
    error = CheckpointError("\x1b[31mred\x1b[0m\nWhat users should do.")
    reg = Registry([points("bad", riboswitch_models=raising(error))])
    with pytest.warns(PluginWarning, match=r"riboswitch_models: \?\[31mred\?\[0m\.\nUpdate"):
        assert list(reg.models) == []
    assert reg.plugins[0].state is State.IN_PART


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ignored": "lm_head"}, "ignored is 'lm_head', and must be a tuple of patterns"),
        ({"derived": ("a(",)}, r"derived has 'a\('"),
        ({"copies": ("a", "b")}, "copies is .*, and must be a tuple of pairs"),
        ({"form": "torch"}, "form"),
    ],
)
def test_a_layout_that_cannot_be_right_is_refused(changes, message):
    fine = {"name": "odd", "plain": str, "describe": str, "rules": str}
    with pytest.raises((TypeError, ValueError), match=message):
        Layout(**fine, **changes)


@pytest.mark.parametrize(
    "changes",
    [{"part": (3, 3)}, {"part": (-1, 3)}, {"part": [0, 3]}, {"zero_row": -1}, {"shape": 3}],
)
def test_a_rule_that_cannot_be_right_is_refused(changes):
    with pytest.raises((TypeError, ValueError)):
        Rule(canonical="a", file="b", **changes)


def test_a_model_has_an_embedding_for_each_token():
    with pytest.raises(ValueError, match="'rnafm' has 8 embeddings for an alphabet of 25 tokens"):
        evolve(RNAFM, architecture=RNAFM.architecture.evolve({"vocab_size": 8, "mask_id": 4}))
    assert isinstance(evolve(RNAFM, name="fine"), ModelEntry)
