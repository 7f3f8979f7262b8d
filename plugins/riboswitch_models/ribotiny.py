"""ribotiny: a small model of ours, a pre-LayerNorm encoder with rotary positions.

Its weights lie beside this file. How they came about stands in docs/ribotiny.md.
"""

from __future__ import annotations

from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.interfaces import ModelEntry
from riboswitch.optimization import Optimization, Pretraining
from riboswitch.origins import Packaged, Released

# The classes of ncRNA of Fiannaca et al. 2017, which it is trained to tell apart. It has no token
# that announces one: they are predicted, not given.
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
            tied=False,
            mask_id=ALPHABET.mask_id,
        ),
        alphabet=ALPHABET,
        licence="Apache-2.0",
        source="riboswitch",
        released=Released(
            source=Packaged(
                package="riboswitch_models", files=("model.safetensors", "riboswitch.json")
            ),
            filename="ribotiny-1",
            sha256="22f6a984dadaa6d70f5d4b0b1e8f4b080faf1a2ad3782602c685511413de86e3",
        ),
        pretraining=Pretraining(
            recipe="rnaernie",
            initial="neighbours",
            optimization=Optimization(
                schedule="cosine", peak=4e-4, floor=1e-5, warmup=0.02, beta2=0.98
            ),
        ),
    ),
)
