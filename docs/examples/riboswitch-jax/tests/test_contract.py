"""The contract that riboswitch's own backends keep, kept by this one."""

from __future__ import annotations

from riboswitch.testing import BackendContract


class TestJax(BackendContract):
    """On the CPU."""

    backend = "jax"
