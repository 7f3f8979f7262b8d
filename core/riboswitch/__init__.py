"""RNA language models on NumPy, PyTorch and Paddle behind one interface.

Names are imported when they are first used, so that `import riboswitch` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from riboswitch._version import __version__

if TYPE_CHECKING:
    from riboswitch import masking
    from riboswitch.alphabet import Alphabet
    from riboswitch.architecture import Architecture
    from riboswitch.batch import TokenBatch
    from riboswitch.conversion.convert import convert
    from riboswitch.errors import (
        BackendError,
        CheckpointError,
        PluginWarning,
        RecordsFailedError,
        ResourceError,
        RiboswitchError,
        RiboswitchWarning,
        SequenceError,
        StoreError,
        TrainingError,
        UnknownLetterWarning,
        UnrecognisedError,
        UsageError,
    )
    from riboswitch.hookspecs import impl
    from riboswitch.loading import load, models
    from riboswitch.model import Model
    from riboswitch.output import Fill, Output
    from riboswitch.store import Embeddings, open_embeddings

_HOMES = {
    "alphabet": ("Alphabet",),
    "architecture": ("Architecture",),
    "batch": ("TokenBatch",),
    "conversion.convert": ("convert",),
    "errors": (
        "BackendError",
        "CheckpointError",
        "PluginWarning",
        "RecordsFailedError",
        "ResourceError",
        "RiboswitchError",
        "RiboswitchWarning",
        "SequenceError",
        "StoreError",
        "TrainingError",
        "UnknownLetterWarning",
        "UnrecognisedError",
        "UsageError",
    ),
    "hookspecs": ("impl",),
    "loading": ("load", "models"),
    "model": ("Model",),
    "output": ("Fill", "Output"),
    "store": ("Embeddings", "open_embeddings"),
}
_ROOMS = ("masking",)
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Alphabet",
    "Architecture",
    "BackendError",
    "CheckpointError",
    "Embeddings",
    "Fill",
    "Model",
    "Output",
    "PluginWarning",
    "RecordsFailedError",
    "ResourceError",
    "RiboswitchError",
    "RiboswitchWarning",
    "SequenceError",
    "StoreError",
    "TokenBatch",
    "TrainingError",
    "UnknownLetterWarning",
    "UnrecognisedError",
    "UsageError",
    "__version__",
    "convert",
    "impl",
    "load",
    "masking",
    "models",
    "open_embeddings",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"riboswitch.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'riboswitch' has no attribute {name!r}")
    value = getattr(import_module(f"riboswitch.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_ROOMS})
