"""A backend may compute some architectures only, and says so before anything is read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from attrs import evolve

from riboswitch import BackendError, UsageError, load
from riboswitch.errors import PluginWarning
from riboswitch.registry import refusal, registry

SMALL = {"num_layers": 1, "hidden_size": 24, "num_heads": 4, "feed_forward_size": 20}


def learned_only(architecture):
    return None if architecture.positions == "learned" else "its positions are learned"


def never_started():
    raise AssertionError("it was started")


@pytest.fixture
def announce(plant):
    """Announce a backend that is NumPy's in all but what it takes, and the best of all."""

    def add(refuses, **changes):
        numpy = registry().backends["numpy"]
        partial = evolve(numpy, name="partial", refuses=refuses, priority=1000, **changes)
        plant(partial)

    return add


def test_a_backend_takes_every_model_unless_it_says_otherwise():
    for name in ("numpy", "torch", "paddle"):
        entry = registry().backends[name]
        assert not any(refusal(entry, m.architecture) for m in registry().models.values())


def test_a_refused_model_is_an_error_with_the_reason_and_the_cure(announce):
    announce(learned_only, load=never_started)
    reason = r"'partial' cannot compute this model: its positions are learned\."
    cure = r"Take one that can: (?!.*partial).*numpy"
    with pytest.raises(BackendError, match=rf"{reason}\n{cure}") as caught:
        load("rinalmo-nano", backend="partial", weights="random")
    assert isinstance(caught.value, UsageError)
    assert caught.value.exit_code == 2


def test_a_model_that_it_takes_is_computed(announce):
    announce(learned_only)
    model = load("rnafm", backend="partial", weights="random", architecture=SMALL)
    assert model.embed(["ACGU"])[0].shape == (4, 24)


def test_auto_passes_over_a_backend_that_refuses_the_model(announce):
    announce(learned_only, load=never_started)
    assert registry().auto == "partial"
    options = {"weights": "random", "architecture": SMALL}
    assert load("rinalmo-nano", **options).backend.name == registry().able()[1]
    with pytest.raises(BackendError, match="it was started"):
        load("rnafm", backend="partial", **options)
    said = r"'partial' of planted 0 fails to start: AssertionError: it was started"
    with pytest.warns(PluginWarning, match=said):
        assert load("rnafm", **options).backend.name == registry().able()[1]


def test_what_counts_is_the_architecture_of_the_file(announce, fixtures):
    announce(lambda a: None if a.hidden_size < 100 else f"{a.hidden_size} features are too many")
    path = fixtures / "rnafm" / "RNA-FM_pretrained.pth"
    assert load("rnafm", backend="partial", weights=path).architecture.hidden_size == 40
    with pytest.raises(BackendError, match="640 features are too many"):
        load("rnafm", backend="partial", weights="random")


def test_no_number_is_read_for_a_backend_that_refuses(announce, fixtures, monkeypatch):
    announce(learned_only)
    path = fixtures / "rinalmo" / "rinalmo_tiny_pretrained.pt"
    read = []
    monkeypatch.setattr("riboswitch.layouts._apply", lambda rule, tensor: read.append(rule.file))
    with pytest.raises(BackendError, match="its positions are learned"):
        load("rinalmo-giga", backend="partial", weights=path, architecture={"num_heads": 20})
    assert read == []


def test_nothing_is_fetched_for_a_backend_that_refuses(announce, monkeypatch):
    announce(learned_only)
    monkeypatch.setattr("riboswitch.loading.fetch", lambda entry: pytest.fail("it was fetched"))
    with pytest.raises(BackendError, match="its positions are learned"):
        load("rinalmo-micro", backend="partial")


@pytest.mark.parametrize(
    ("refuses", "said"),
    [
        (lambda a: a.no_such_thing, "AttributeError: .*no_such"),
        (lambda a: exit(3), "SystemExit: 3"),
        (lambda a: 5, "TypeError: refuses returned int"),
    ],
)
def test_a_predicate_that_breaks_refuses_and_harms_nobody(announce, refuses, said):
    announce(refuses, load=never_started)
    refused = pytest.raises(BackendError, match=f"its plugin fails to say: {said}")
    with pytest.warns(PluginWarning, match=f"of planted 0: partial: .*{said}") as caught, refused:
        load("rnafm", backend="partial", weights="random", architecture=SMALL)
    assert len(caught) == 1
    assert load("rnafm", weights="random", architecture=SMALL).backend.name == registry().able()[1]


@pytest.mark.parametrize("what", ["devices", "dtypes"])
@pytest.mark.parametrize(
    "answer", [lambda *_: 1 / 0, lambda *_: (), lambda *_: (1,), lambda *_: None]
)
def test_a_backend_that_does_not_say_what_it_can_is_named(announce, what, answer):
    numpy = registry().backend("numpy")
    parts = {part: getattr(numpy, part) for part in ("devices", "dtypes", "build", "single_thread")}
    odd = SimpleNamespace(**{**parts, "name": "partial", "version": "0", what: answer})
    announce(lambda a: None, load=lambda: odd)
    with pytest.raises(BackendError, match=f"'partial' of planted 0 does not say its {what}: "):
        load("rnafm", backend="partial", weights="random", architecture=SMALL)


def test_where_no_backend_can_the_error_says_so(announce, monkeypatch):
    announce(learned_only)
    monkeypatch.setattr("riboswitch.registry.missing", lambda entry: ["x"])
    with pytest.raises(BackendError, match=r"Take one that can: none is installed"):
        load("rinalmo-nano", backend="partial", weights="random")
