"""The contracts that riboswitch's own models and layouts keep, kept by these."""

from __future__ import annotations

from riboswitch.testing import LayoutContract, ModelContract


class TestSpliceBert(ModelContract):
    """From 64 to 1024 nucleotides."""

    model = "splicebert"


class TestSpliceBert510(ModelContract):
    """510 nucleotides of vertebrates."""

    model = "splicebert-510"


class TestSpliceBertHuman510(ModelContract):
    """510 nucleotides of humans."""

    model = "splicebert-human-510"


class TestLayout(LayoutContract):
    """The folder that transformers reads and writes."""

    layout = "splicebert"
    models = ("splicebert", "splicebert-510", "splicebert-human-510")
