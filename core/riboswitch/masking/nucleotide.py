"""Nucleotide level: single letters, as BERT masks single tokens (Devlin et al. 2019, NAACL)."""

from __future__ import annotations

from riboswitch.masking.noise import Ints, Purpose
from riboswitch.masking.sites import Sites, place_singles


def mask_nucleotides(sites: Sites, rate: float, width: int) -> Ints:
    """Choose single letters of each sequence until a share of its sites is masked.

    Args:
        sites: What may be masked.
        rate: The share.
        width: Neighbouring tokens that show one letter.

    Returns:
        The numbers of the chosen sites, int64, ascending.
    """
    return place_singles(sites, sites.sizes * rate, width, Purpose.BUDGET, Purpose.PLACE)
