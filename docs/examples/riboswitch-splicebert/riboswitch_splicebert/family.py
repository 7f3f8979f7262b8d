"""SpliceBERT: BERT over single nucleotides of vertebrate primary transcripts.

Source: Chen et al. 2024, Briefings in Bioinformatics 25:bbae163; github.com/chenkenbio/SpliceBERT.
"""

from __future__ import annotations

from riboswitch import Alphabet, Architecture
from riboswitch.interfaces import ModelEntry
from riboswitch.origins import ByHand, Released

FAMILY = "splicebert"

ALPHABET = Alphabet(
    tokens=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"NACGT"),
    cls="[CLS]",
    pad="[PAD]",
    eos="[SEP]",
    unk="[UNK]",
    mask="[MASK]",
)


def _released(folder: str) -> Released:
    return Released(
        source=ByHand(
            page="https://doi.org/10.5281/zenodo.7995778",
            files=("pytorch_model.bin", "config.json"),
        ),
        filename=folder,
        note=f"The files are in the record's models.tar.gz, in the folder {folder}.",
    )


def _entry(name: str, max_residues: int, folder: str) -> ModelEntry:
    return ModelEntry(
        name=name,
        family=FAMILY,
        architecture=Architecture(
            vocab_size=len(ALPHABET),
            hidden_size=512,
            num_layers=6,
            num_heads=16,
            feed_forward_size=2048,
            max_positions=max_residues + 2,  # [CLS] and [SEP]
            token_types=2,
            embedding_norm=True,
            norm="post",
            norm_eps=1e-12,
            final_norm=False,
            mask_id=ALPHABET.mask_id,
        ),
        alphabet=ALPHABET,
        licence="see the Zenodo record (the repository is BSD-3-Clause)",
        source="Chen et al. 2024, Briefings in Bioinformatics 25:bbae163",
        released=_released(folder),
    )


MODELS = (
    _entry("splicebert", 1024, "SpliceBERT.1024nt"),
    _entry("splicebert-510", 510, "SpliceBERT.510nt"),
    _entry("splicebert-human-510", 510, "SpliceBERT-human.510nt"),
)
