"""RNA language models on NumPy, PyTorch and Paddle behind one interface."""

from riboswitch._version import __version__
from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.batch import TokenBatch
from riboswitch.errors import (
    BackendError,
    CheckpointError,
    ResourceError,
    RiboswitchError,
    RiboswitchWarning,
    SequenceError,
    StoreError,
    UsageError,
)
from riboswitch.hookspecs import impl
from riboswitch.model import Model, load, models
from riboswitch.output import Fill, Output
from riboswitch.store import Embeddings, open_embeddings

__all__ = [
    "Alphabet",
    "Architecture",
    "BackendError",
    "CheckpointError",
    "Embeddings",
    "Fill",
    "Model",
    "Output",
    "ResourceError",
    "RiboswitchError",
    "RiboswitchWarning",
    "SequenceError",
    "StoreError",
    "TokenBatch",
    "UsageError",
    "__version__",
    "impl",
    "load",
    "models",
    "open_embeddings",
]
