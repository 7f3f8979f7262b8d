"""Our own models keep the contract that we ask of others."""

from __future__ import annotations

import pytest

from riboswitch.registry import registry
from riboswitch.testing import ModelContract


class TestModels(ModelContract):
    @pytest.fixture(autouse=True, params=registry().models)
    def _each(self, request, monkeypatch):
        monkeypatch.setattr(type(self), "model", request.param, raising=False)
