"""ribotiny: a small model that we trained, and that comes with the package.

A pre-LayerNorm encoder with rotary positions. How it was trained and what it is worth stands in
docs/ribotiny.md.
"""

from __future__ import annotations

from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.interfaces import ModelEntry
from riboswitch.training.settings import Optimization, Pretraining

# The classes of ncRNA of Fiannaca et al. 2017, which it was trained to tell apart. It has no
# token that announces one: they are predicted, not given.
TYPES = tuple(
    """
    5S_rRNA 5_8S_rRNA tRNA ribozyme CD-box miRNA Intron_gpI Intron_gpII HACA-box riboswitch IRES
    leader scaRNA
    """.split()
)

ALPHABET = Alphabet(
    tokens=("<cls>", "<pad>", "<eos>", "<unk>", "<mask>", *"ACGUNRYKMSWBDHV", *TYPES),
    types=TYPES,
)

MODELS = (
    ModelEntry(
        name="ribotiny",
        family="ribotiny",
        architecture=Architecture(
            vocab_size=len(ALPHABET),
            hidden_size=128,
            num_layers=4,
            num_heads=4,
            feed_forward_size=512,
            positions="rotary",
            activation="relu",
            mask_id=ALPHABET.mask_id,
        ),
        alphabet=ALPHABET,
        licence="Apache-2.0, as riboswitch",
        source="riboswitch, docs/ribotiny.md",
        pretraining=Pretraining(
            recipe="rnaernie",
            optimization=Optimization(
                schedule="cosine", peak=1.5e-3, floor=1e-5, warmup=0.05, beta2=0.98
            ),
        ),
    ),
)
