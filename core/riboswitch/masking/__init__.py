"""Masking for pre-training: by nucleotides, spans and motifs, reproducible record by record."""

from riboswitch.masking.files import recipe
from riboswitch.masking.masked import IGNORED, Masked, Origin
from riboswitch.masking.motifs import Motifs
from riboswitch.masking.recipes import Recipe

__all__ = ["IGNORED", "Masked", "Motifs", "Origin", "Recipe", "recipe"]
