from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from attrs import evolve

from riboswitch import BackendError, CheckpointError
from riboswitch.errors import PluginWarning
from riboswitch.interfaces import BackendEntry, Checkpoint
from riboswitch.registry import Registry, missing, registry

RNAFM = registry().models["rnafm"]
TOY = evolve(RNAFM, name="toy")
NUMPY = registry().backend("numpy")
BACKEND = BackendEntry(
    name="toy", requires=("json",), install="pip install toy", load=lambda: NUMPY
)


@pytest.fixture
def good(points):
    return points("good", riboswitch_models=lambda: [TOY], riboswitch_backends=lambda: [BACKEND])


def states(reg: Registry) -> dict[str, str]:
    return {p.name: p.told for p in reg.plugins}


def raising(error: Exception):
    def function(*args, **kwargs):
        raise error

    return function


def test_what_plugins_announce_is_found_by_name(good):
    reg = Registry([good])
    assert reg.models == {"toy": TOY}
    assert reg.backends == {"toy": BACKEND}
    assert reg.layouts == {}
    assert reg.model("toy") is TOY
    assert reg.backend("toy") is NUMPY
    assert states(reg) == {"good": "loaded"}
    assert set(reg.plugins[0].hooks) == {"riboswitch_models", "riboswitch_backends"}


def test_a_plugin_that_cannot_be_imported_warns_once_and_harms_nobody(good, monkeypatch):
    broken = EntryPoint(name="broken", value="no_such_module_at_all", group="riboswitch")
    reg = Registry([broken, good])
    with pytest.warns(
        PluginWarning, match=r"(?s)'broken'.*ModuleNotFoundError.*DISABLE_PLUGINS=broken"
    ) as caught:
        assert list(reg.models) == ["toy"]
    assert len(caught) == 1
    assert list(reg.backends) == ["toy"]  # no second warning: that would be an error here
    assert states(reg)["broken"].startswith("ModuleNotFoundError")
    assert states(reg)["good"] == "loaded"


def test_a_module_that_raises_at_import_harms_nobody(good, tmp_path, monkeypatch):
    (tmp_path / "raises_at_import.py").write_text("raise SystemError('broken wheel')")
    monkeypatch.syspath_prepend(tmp_path)
    broken = EntryPoint(name="broken", value="raises_at_import", group="riboswitch")
    reg = Registry([broken, good])
    with pytest.warns(PluginWarning, match="SystemError: broken wheel"):
        assert list(reg.models) == ["toy"]


@pytest.mark.parametrize(
    ("hook", "what"),
    [
        (raising(ValueError("boom")), "riboswitch_models: ValueError: boom"),
        (lambda: None, "riboswitch_models: TypeError"),
        (lambda: ["toy"], "expected a ModelEntry, got str"),
        (lambda: [BACKEND], "expected a ModelEntry, got BackendEntry"),
        (lambda: [evolve(TOY, name="half"), 7], "expected a ModelEntry, got int"),
    ],
)
def test_a_hook_that_fails_or_talks_nonsense_is_left_out(points, good, hook, what):
    reg = Registry([points("bad", riboswitch_models=hook), good])
    with pytest.warns(PluginWarning, match=what) as caught:
        assert list(reg.models) == ["toy"]
    assert len(caught) == 1
    assert what in states(reg)["bad"]
    assert states(reg)["good"] == "loaded"


def test_a_hook_with_arguments_that_nobody_gives_is_left_out(points, good):
    reg = Registry([points("bad", riboswitch_models=lambda wanted: [TOY]), good])
    with pytest.warns(PluginWarning, match="'bad'"):
        assert list(reg.models) == ["toy"]


def test_the_first_of_two_equal_names_wins(points, good):
    late = points(
        "late", riboswitch_models=lambda: [evolve(TOY, licence="late"), evolve(TOY, name="more")]
    )
    reg = Registry([good, late])
    with pytest.warns(PluginWarning, match="'late'.*the name 'toy' is taken"):
        assert list(reg.models) == ["toy", "more"]
    assert reg.model("toy") is TOY


def test_two_plugins_of_one_name_do_not_stop_each_other(points, good):
    twin = points("good", "another_module", riboswitch_models=lambda: [evolve(TOY, name="twin")])
    reg = Registry([good, twin])
    with pytest.warns(PluginWarning, match="'good'"):
        assert list(reg.models) == ["toy"]


def test_disabled_plugins_are_not_imported(points, good, monkeypatch):
    monkeypatch.setenv("RIBOSWITCH_DISABLE_PLUGINS", "broken, other")
    broken = EntryPoint(name="broken", value="no_such_module_at_all", group="riboswitch")
    other = points("other", riboswitch_models=lambda: [evolve(TOY, name="other")])
    reg = Registry([broken, good, other])
    assert list(reg.models) == ["toy"]
    assert states(reg) == {"broken": "disabled", "good": "loaded", "other": "disabled"}


def test_backends_are_ordered_by_priority(points):
    low, high = evolve(BACKEND, name="low", priority=1), evolve(BACKEND, name="high", priority=9)
    absent = evolve(BACKEND, name="absent", priority=99, requires=("no_such_module_at_all",))
    reg = Registry([points("p", riboswitch_backends=lambda: [low, absent, high])])
    assert list(reg.backends) == ["absent", "high", "low"]
    assert reg.auto == "high"


def test_a_backend_without_its_framework_names_it(points):
    absent = evolve(BACKEND, requires=("json", "no_such_module_at_all"))
    reg = Registry([points("p", riboswitch_backends=lambda: [absent])])
    assert missing(absent) == ["no_such_module_at_all"]
    with pytest.raises(
        BackendError, match=r"needs no_such_module_at_all, .*\nInstall it: pip install toy"
    ):
        reg.backend("toy")


def test_an_error_of_the_backend_itself_is_not_wrapped(points):
    own = evolve(BACKEND, load=raising(BackendError("my own words")))
    reg = Registry([points("p", riboswitch_backends=lambda: [own])])
    with pytest.raises(BackendError, match=r"^my own words$"):
        reg.backend("toy")


def opened(name: str):
    return lambda path: Checkpoint(path=f"{name}:{path}", container="torch", tensors={})


def test_the_first_plugin_that_knows_a_file_opens_it(points, tmp_path):
    points = [
        points("none", riboswitch_open_checkpoint=lambda path: None),
        points("first", riboswitch_open_checkpoint=opened("first")),
        points("second", riboswitch_open_checkpoint=opened("second")),
    ]
    assert Registry(points).open_checkpoint(tmp_path).path == f"first:{tmp_path}"


def test_a_file_that_no_plugin_knows_is_refused(points, tmp_path):
    reg = Registry([points("none", riboswitch_open_checkpoint=lambda path: None)])
    with pytest.raises(CheckpointError, match="no checkpoint that an installed plugin can open"):
        reg.open_checkpoint(tmp_path)


def test_a_plugin_that_fails_to_open_a_file_harms_nobody(points, tmp_path):
    points = [
        points("bad", riboswitch_open_checkpoint=raising(KeyError("x"))),
        points("first", riboswitch_open_checkpoint=opened("first")),
    ]
    reg = Registry(points)
    with pytest.warns(PluginWarning, match="'bad'.*KeyError"):
        assert reg.open_checkpoint(tmp_path).path == f"first:{tmp_path}"


def test_damage_that_a_plugin_reports_is_the_answer_unless_another_opens_the_file(points, tmp_path):
    strict = points("strict", riboswitch_open_checkpoint=raising(CheckpointError("cut short")))
    second = points("second", riboswitch_open_checkpoint=raising(CheckpointError("no idea")))
    with pytest.raises(CheckpointError, match="cut short"):
        Registry([strict, second]).open_checkpoint(tmp_path)
    other = points("other", riboswitch_open_checkpoint=opened("other"))
    assert Registry([strict, other]).open_checkpoint(tmp_path).path == f"other:{tmp_path}"


def test_a_stranger_can_open_what_our_reader_does_not_know(points, tmp_path):
    import riboswitch_adapters.plugin as ours

    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF....")
    real = points("ours", riboswitch_open_checkpoint=ours.riboswitch_open_checkpoint)
    with pytest.raises(CheckpointError, match="GGUF"):
        Registry([real]).open_checkpoint(path)
    gguf = points("gguf", riboswitch_open_checkpoint=opened("gguf"))
    assert Registry([real, gguf]).open_checkpoint(path).path == f"gguf:{path}"


def test_a_plugin_with_a_misspelled_hook_is_left_out_whole(points, good):
    typo = points("typo", riboswitch_modles=lambda: [TOY], riboswitch_models=lambda: [TOY])
    reg = Registry([typo])
    with pytest.warns(PluginWarning, match="riboswitch_modles"):
        assert list(reg.models) == []


def test_a_requirement_in_a_missing_package_is_missing():
    entry = evolve(registry().backends["numpy"], requires=("no_such_package.part",))
    assert missing(entry) == ["no_such_package.part"]


def test_our_own_plugins_are_installed_and_come_first():
    ours = {"adapters", "models", "numpy", "paddle", "paddlenlp", "torch"}
    first = [p for p in registry().plugins if p.package == "riboswitch"]
    assert ours <= {p.name for p in first}
    assert first == registry().plugins[: len(first)]
    assert {p.told for p in first} == {"loaded"}


def test_a_misspelled_hook_is_reported_with_the_right_name(points, good):
    typo = points("typo", riboswitch_modles=lambda: [TOY])
    reg = Registry([good, typo])
    with pytest.warns(PluginWarning, match="'typo'.*riboswitch_modles.*riboswitch_models"):
        assert list(reg.models) == ["toy"]


def test_a_backend_is_started_once():
    assert registry().backend("numpy") is registry().backend("numpy")
