"""RiNALMo: rotary positions, SwiGLU, no attention bias, a normalised residual stream.

Source: Penić et al. 2024, arXiv:2403.00043; github.com/lbcb-sci/RiNALMo.
"""

from __future__ import annotations

from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.interfaces import ModelEntry, Released

ALPHABET = Alphabet(
    tokens=("<cls>", "<pad>", "<eos>", "<unk>", "<mask>", *"ACGTIRYKMSWBDHVN-"),
)

_RECORD = "https://doi.org/10.5281/zenodo.15043668"


def _entry(size: str, num_layers: int, hidden_size: int, *, released: bool = True) -> ModelEntry:
    filename = f"rinalmo_{size}_pretrained.pt"
    return ModelEntry(
        name=f"rinalmo-{size}",
        family="rinalmo",
        architecture=Architecture(
            vocab_size=len(ALPHABET),
            hidden_size=hidden_size,
            num_layers=num_layers,
            num_heads=20,
            feed_forward_size=2 * 4 * hidden_size // 3,
            positions="rotary",
            norm="stream",
            activation="swiglu",
            attention_bias=False,
            token_dropout=0.12,
            mask_id=ALPHABET.mask_id,
            tied=False,
        ),
        alphabet=ALPHABET,
        licence="CC BY 4.0" if released else "none released",
        source="Penić et al. 2024, arXiv:2403.00043",
        released=Released(url=_RECORD, filename=filename) if released else None,
    )


MODELS = (
    _entry("giga", 33, 1280),
    _entry("mega", 30, 640),
    _entry("micro", 12, 480),
    _entry("nano", 6, 320, released=False),
)
