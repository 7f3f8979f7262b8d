"""The server that released files are fetched from, which misbehaves; and little patience."""

from __future__ import annotations

import pytest
from tests.released.fetching import CONTENT
from tests.released.loopback import in_the_place_of_zenodo, serving

from riboswitch.released import network


@pytest.fixture(autouse=True)
def _impatient(monkeypatch, tmp_path):
    for name in ("RIBOSWITCH_OFFLINE", "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RIBOSWITCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(network, "FIRST_WAIT", 0.001)
    for module in ("sources", "transfer"):
        monkeypatch.setattr(f"riboswitch.released.{module}.TIMEOUTS", (2.0, 0.3))


@pytest.fixture
def server(monkeypatch):
    with serving(CONTENT) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        with in_the_place_of_zenodo(running):
            yield running
