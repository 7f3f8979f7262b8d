"""RNAErnie: an ERNIE-style encoder, post-LayerNorm, ReLU, with prompts for the type of RNA.

Source: Wang et al. 2024, Nature Machine Intelligence 6:548; github.com/CatIIIIIIII/RNAErnie.
"""

from __future__ import annotations

from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.interfaces import ModelEntry
from riboswitch.optimization import Optimization, Pretraining
from riboswitch.origins import ByHand, Released

TYPES = tuple(
    """
    RNaseMRPRNA RNasePRNA SRPRNA YRNA antisenseRNA autocatalyticallysplicedintron guideRNA
    hammerheadribozyme lncRNA miRNA miscRNA ncRNA other piRNA premiRNA precursorRNA rRNA
    ribozyme sRNA scRNA scaRNA siRNA snRNA snoRNA tRNA telomeraseRNA tmRNA vaultRNA
    """.split()
)

ALPHABET = Alphabet(
    tokens=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEL]", "[IND]", *TYPES, *"ATCG"),
    cls="[CLS]",
    pad="[PAD]",
    eos="[SEP]",
    unk="[UNK]",
    mask="[MASK]",
    ind="[IND]",
    types=TYPES,
)

MODELS = (
    ModelEntry(
        name="rnaernie",
        family="rnaernie",
        architecture=Architecture(
            vocab_size=len(ALPHABET),
            hidden_size=768,
            num_layers=12,
            num_heads=12,
            feed_forward_size=3072,
            max_positions=513,
            token_types=2,
            embedding_norm=True,
            norm="post",
            norm_eps=1e-12,
            final_norm=False,
            activation="relu",
            mask_id=ALPHABET.mask_id,
            pooler=True,
            lm_activation="relu",
        ),
        alphabet=ALPHABET,
        licence="none stated for the weights (the repository is MIT)",
        source="Wang et al. 2024, Nature Machine Intelligence 6:548",
        released=Released(
            source=ByHand(
                page="https://drive.google.com/drive/folders/1Ls5k7hv83BLRTznB4XcegIa2yKkU40Ls",
                files=("model_state.pdparams", "model_config.json"),
            ),
            filename="BERT,ERNIE,MOTIF,PROMPT",
            note=(
                "The page is the Google Drive folder that the README of "
                "https://github.com/CatIIIIIIII/RNAErnie names; model_config.json is also in that "
                "repository, under output/BERT,ERNIE,MOTIF,PROMPT/checkpoint_final."
            ),
        ),
        # As in the authors' run_pretrain.py: its lowest rate is its highest.
        pretraining=Pretraining(
            recipe="rnaernie",
            optimization=Optimization(
                schedule="constant", peak=1e-4, warmup=0.02, weight_decay=0.0, dropout=0.1
            ),
        ),
    ),
)
