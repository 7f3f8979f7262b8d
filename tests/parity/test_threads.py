"""Paddle, started and given memory by several threads at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

LENT = """
import threading
import numpy as np
from riboswitch.registry import registry
from riboswitch_adapters.tensors import to_paddle

registry().backend("paddle")
for _ in range(20):
    array, barrier, found = np.zeros(8, "f4"), threading.Barrier(2), []

    def convert():
        barrier.wait()
        found.append(to_paddle(array))

    threads = [threading.Thread(target=convert) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tensor.data_ptr() for tensor in found}) == 2
"""
STARTED_IN_A_THREAD = """
import threading
import riboswitch

def load():
    global model
    model = riboswitch.load("rinalmo-nano", weights="random", backend="paddle",
                            architecture={"num_layers": 1})

threads = [threading.Thread(target=load) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert model.embed(["ACGU"])[0].shape == (4, 320)
"""
STARTED_AND_LENT = (
    STARTED_IN_A_THREAD
    + """
import numpy as np
from riboswitch_adapters.tensors import to_paddle
assert to_paddle(np.ones(3, "f4")).sum() == 3
"""
)
THREADS = [
    pytest.param(LENT, id="lent", marks=pytest.mark.paddle3),
    pytest.param(STARTED_IN_A_THREAD, id="started"),
    pytest.param(STARTED_AND_LENT, id="started-lent", marks=pytest.mark.paddle3),
]


@pytest.mark.backend("paddle")
@pytest.mark.parametrize("script", THREADS)
def test_paddle_and_threads(script: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)
