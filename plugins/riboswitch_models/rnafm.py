"""RNA-FM and mRNA-FM: ESM-1b-style encoders, learned positions, pre-LayerNorm.

Source: Chen et al. 2022, arXiv:2204.00300; github.com/ml4bio/RNA-FM (MIT).
"""

from __future__ import annotations

from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.interfaces import ModelEntry
from riboswitch.optimization import Optimization, Pretraining
from riboswitch.origins import HubFile, Released

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


# The paper, section "Training": the rate rises over 10,000 steps, then falls with their root.
PRETRAINING = Pretraining(
    recipe="bert",
    optimization=Optimization(
        schedule="inverse-sqrt", peak=1e-4, warmup=10_000, weight_decay=0.01, beta2=0.98
    ),
)


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


def _released(filename: str, sha256: str | None = None) -> Released:
    """Name a file of the authors' own repository, at one commit."""
    commit = "91d4a46d28d8054a7b429955e8fc0c253ba0afd6"
    source = HubFile(repo="cuhkaih/rnafm", file=filename, revision=commit)
    return Released(source=source, filename=filename, sha256=sha256)


MODELS = (
    ModelEntry(
        name="rnafm",
        family="rnafm",
        architecture=_architecture(NUCLEOTIDES, 640, embedding_norm=True),
        alphabet=NUCLEOTIDES,
        licence="MIT",
        source="Chen et al. 2022, arXiv:2204.00300",
        released=_released(
            "RNA-FM_pretrained.pth",
            "5b5d7d87b37c291ef42c140ef9edf7aea29f255fa2a4fd435f776c52e93d5e99",
        ),
        pretraining=PRETRAINING,
    ),
    ModelEntry(
        name="mrnafm",
        family="mrnafm",
        architecture=_architecture(CODONS, 1280, embedding_norm=False),
        alphabet=CODONS,
        licence="MIT",
        source="github.com/ml4bio/RNA-FM",
        released=_released("mRNA-FM_pretrained.pth"),
        pretraining=PRETRAINING,
    ),
)
