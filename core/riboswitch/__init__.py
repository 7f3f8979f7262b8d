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

__all__ = [
    "Alphabet",
    "Architecture",
    "BackendError",
    "CheckpointError",
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
]
