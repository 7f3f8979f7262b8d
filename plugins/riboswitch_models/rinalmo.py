"""RiNALMo: rotary positions, SwiGLU, no attention bias, a normalised residual stream.

Source: Penić et al. 2024, arXiv:2403.00043; github.com/lbcb-sci/RiNALMo.
"""

from __future__ import annotations

from attrs import evolve

from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.interfaces import ModelEntry
from riboswitch.optimization import Optimization, Pretraining
from riboswitch.origins import Released, ZenodoFile

ALPHABET = Alphabet(
    tokens=("<cls>", "<pad>", "<eos>", "<unk>", "<mask>", *"ACGTIRYKMSWBDHVN-"),
)

# The authors' configuration, which drops of the attention's weights and of what goes to the
# residual stream; and the paper's clipping. Only giga has half the rate.
OPTIMIZATION = Optimization(
    schedule="cosine",
    peak=1e-4,
    floor=1e-5,
    warmup=2000,
    decay=200_000,
    weight_decay=0.01,
    clip=1.0,
    dropout=0.1,
)

_DOI = "10.5281/zenodo.15043668"


def _released(size: str, sha256: str | None = None) -> Released:
    file = f"rinalmo_{size}_pretrained.pt"
    return Released(source=ZenodoFile(doi=_DOI, file=file), filename=file, sha256=sha256)


def _entry(
    size: str, num_layers: int, hidden_size: int, released: Released | None = None
) -> ModelEntry:
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
        released=released,
        pretraining=Pretraining(
            recipe="bert",
            optimization=evolve(OPTIMIZATION, peak=5e-5) if size == "giga" else OPTIMIZATION,
        ),
    )


MODELS = (
    _entry(
        "giga",
        33,
        1280,
        _released("giga", "cd93c3f21eb3e767373c9491192686b5846247bd1110693e453c1dd0f321c0db"),
    ),
    _entry("mega", 30, 640, _released("mega")),
    _entry("micro", 12, 480, _released("micro")),
    _entry("nano", 6, 320),
)
