"""RNA-FM and mRNA-FM: ESM-1b-style encoders, learned positions, pre-LayerNorm.

Source: Chen et al. 2022, arXiv:2204.00300; github.com/ml4bio/RNA-FM (MIT).
"""

from __future__ import annotations

from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.interfaces import ModelEntry, Released

_SPECIAL = ("<cls>", "<pad>", "<eos>", "<unk>")
_NULLS = tuple(f"<null_{i}>" for i in range(1, 5))  # they pad the vocabulary to whole eights

NUCLEOTIDES = Alphabet(tokens=(*_SPECIAL, *"ACGURYKMSWBDHVN-", *_NULLS, "<mask>"))

_CODONS = """
GAG AAG GAA CUG CAG GAU AAA GUG GAC AUG GCC AAC GCU AAU AUC UUC
GGA AUU GGC UUU CCA AGC GCA UCU CUC ACC CAA CCU UCC ACA UUG GUU
CUU UAC ACU CCC UCA GUC GGU CAC AGU UAU AGA CAU GGG UGG UGC AGG
UGU AUA CGC UUA GCG CGG CCG GUA CUA ACG UCG CGA CGU UGA UAA UAG
""".split()

CODONS = Alphabet(tokens=(*_SPECIAL, *_CODONS, *_NULLS, "<mask>"), k=3, stride=3)


def _architecture(alphabet: Alphabet, hidden_size: int, *, embedding_norm: bool) -> Architecture:
    return Architecture(
        vocab_size=len(alphabet),
        hidden_size=hidden_size,
        num_layers=12,
        num_heads=20,
        feed_forward_size=5120,
        max_positions=1026,
        position_offset=2,  # fairseq counts positions from the padding id on
        embedding_norm=embedding_norm,
        mask_id=alphabet.mask_id,
    )


_PAGE = "https://github.com/ml4bio/RNA-FM"

MODELS = (
    ModelEntry(
        name="rnafm",
        family="rnafm",
        architecture=_architecture(NUCLEOTIDES, 640, embedding_norm=True),
        alphabet=NUCLEOTIDES,
        licence="MIT",
        source="Chen et al. 2022, arXiv:2204.00300",
        released=Released(url=_PAGE, filename="RNA-FM_pretrained.pth"),
    ),
    ModelEntry(
        name="mrnafm",
        family="mrnafm",
        architecture=_architecture(CODONS, 1280, embedding_norm=False),
        alphabet=CODONS,
        licence="MIT",
        source="github.com/ml4bio/RNA-FM",
        released=Released(url=_PAGE, filename="mRNA-FM_pretrained.pth"),
    ),
)
