"""Our own backends keep the contract that we ask of others."""

from __future__ import annotations

from typing import ClassVar

import pytest

from riboswitch.testing import BackendContract


@pytest.mark.backend("numpy")
class TestNumpy(BackendContract):
    backend = "numpy"


@pytest.mark.backend("torch")
class TestTorch(BackendContract):
    backend = "torch"


@pytest.mark.backend("paddle")
class TestPaddle(BackendContract):
    backend = "paddle"


@pytest.mark.peers_paddlenlp
@pytest.mark.backend("paddlenlp")
class TestPaddleNLP(BackendContract):
    backend = "paddlenlp"
    exempt: ClassVar = {
        "test_weights_are_copied_one_after_the_other": "its module takes a state of all weights",
    }
