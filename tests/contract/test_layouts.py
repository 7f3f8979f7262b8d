"""Our own layouts keep the contract that we ask of others."""

from __future__ import annotations

from riboswitch.testing import LayoutContract


class TestRiboswitch(LayoutContract):
    layout = "riboswitch"


class TestRNAFM(LayoutContract):
    layout = "rnafm"
    models = ("rnafm", "mrnafm")


class TestRiNALMo(LayoutContract):
    layout = "rinalmo"
    models = ("rinalmo-giga", "rinalmo-micro")


class TestRiNALMoPlain(LayoutContract):
    layout = "rinalmo-plain"
    models = ("rinalmo-giga", "rinalmo-micro")


class TestRNAErnie(LayoutContract):
    layout = "rnaernie"
    models = ("rnaernie",)


class TestMultiMolecule(LayoutContract):
    layout = "multimolecule"
