"""Open a checkpoint's file or folder: tensors by name, what is said of the architecture."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from riboswitch.errors import CheckpointError, UnrecognisedError
from riboswitch.interfaces import Checkpoint, Draft, Tensor
from riboswitch_adapters.readers.crc import SEAL_KEY
from riboswitch_adapters.readers.lazy import CODES, LazyTensor
from riboswitch_adapters.readers.mapped import CURE, let_go
from riboswitch_adapters.readers.torch_files import read_file
from riboswitch_adapters.writers.paddle_files import NAMES, write_paddle
from riboswitch_adapters.writers.safetensors_files import write_safetensors
from riboswitch_adapters.writers.torch_files import write_torch

WEIGHTS = ("model.safetensors", "model_state.pdparams", "pytorch_model.bin")
OWN = "riboswitch.json"
CONFIGS = (OWN, "config.json", "model_config.json")
_SHARDED = tuple(f"{name}.index.json" for name in WEIGHTS)
_VOCABULARY = re.compile(r"vocab(_\d+MER)?\.txt")
_TABLE = "word_embeddings.weight"
_STATES = ("model", "state_dict", "model_state_dict")
_PARALLEL = "module."  # what torch's DataParallel puts in front of every name
_MAX_TEXT = 1 << 20
_WRITERS = {"torch": write_torch, "paddle": write_paddle, "safetensors": write_safetensors}


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a file, or a folder that holds one with its config.

    Raises:
        CheckpointError: It is not there, no checkpoint, damaged or hostile.
    """
    if not path.exists():
        raise CheckpointError(f"{path} does not exist.\nGive the path of a file or folder.")
    file = _weights_file(path) if path.is_dir() else path
    own = file.name in WEIGHTS and (file.parent / OWN).is_file()
    container, tree, metadata = read_file(file, keep=own)
    state, arguments = _state(tree, file)
    folder = file.parent if file.name in WEIGHTS else None
    return Checkpoint(
        path=str(path),
        container=container,
        tensors=state,
        config={**arguments, **(_config(folder) if folder else {})},
        vocabulary=_vocabulary(folder, state) if folder else None,
        seal=metadata.get(SEAL_KEY),
        release=_release(state),
    )


def _release(state: Mapping[str, Tensor]) -> Callable[[], None]:
    """What lets the pages of the mapped file go."""
    tensors = [t for t in state.values() if isinstance(t, LazyTensor)]

    def release() -> None:
        if tensors:
            let_go(tensors[0].home)

    return release


def write_checkpoint(path: Path, draft: Draft) -> bool:
    """Write a file of tensors; False for a container that is not known here.

    Raises:
        CheckpointError: It has no place for one of them.
    """
    writer = _WRITERS.get(draft.container)
    if writer is None:
        return False
    for name, tensor in draft.tensors.items():
        if tensor.dtype not in CODES.keys() - {"uint16"}:  # in Paddle's files it means bfloat16
            raise CheckpointError(f"{name} is of the dtype {tensor.dtype}, which is not written.")
        if draft.container == "paddle" and name == NAMES:
            raise CheckpointError(f"{name!r} is the name of Paddle's own table.\nRename it.")
    writer(path, draft)
    return True


def _weights_file(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    if any((folder / name).exists() for name in _SHARDED):
        raise CheckpointError(
            f"{folder} holds a checkpoint in several shards, which is not supported.\n"
            "Save it in one file."
        )
    raise UnrecognisedError(f"{folder} holds no checkpoint.\nIt would be: {', '.join(WEIGHTS)}")


def _state(tree: object, file: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Find the dict of tensors, at the top or under a usual name, and the arguments beside it."""
    if not isinstance(tree, dict):
        raise CheckpointError(f"{file} holds no named tensors.\n{CURE}")
    for key in _STATES:
        if isinstance(tree.get(key), dict):
            arguments = tree.get("args")
            return _named(tree[key], file), arguments if isinstance(arguments, dict) else {}
    return _named(tree, file), {}


def _named(state: Mapping[Any, Any], file: Path) -> dict[str, Tensor]:
    """Tensors with their names; a name with anything but text is refused."""
    if not all(isinstance(name, str) for name in state):
        raise CheckpointError(f"{file}: a tensor's name is not text.\n{CURE}")
    named = {name: value for name, value in state.items() if isinstance(value, LazyTensor)}
    parallel = bool(named) and all(name.startswith(_PARALLEL) for name in named)
    return {name[len(_PARALLEL) :] if parallel else name: t for name, t in named.items()}


def _config(folder: Path) -> Mapping[str, Any]:
    for path in (folder / name for name in CONFIGS):
        if not path.is_file():
            continue
        try:
            found = json.loads(_text(path))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} is no JSON: {error}\n{CURE}") from error
        if not isinstance(found, dict):
            raise CheckpointError(f"{path} is no JSON object.\n{CURE}")
        return found
    return {}


def _vocabulary(folder: Path, state: Mapping[str, Tensor]) -> tuple[str, ...] | None:
    """One token a line; of several vocabularies, the one that fits the table of tokens."""
    paths = [p for p in sorted(folder.glob("vocab*.txt")) if _VOCABULARY.fullmatch(p.name)]
    found = [tuple(_text(path).split()) for path in paths]
    rows = {t.shape[0] for name, t in state.items() if name.endswith(_TABLE) and t.shape}
    fitting = [tokens for tokens in found if len(tokens) in rows] if len(found) > 1 else found
    return fitting[0] if len(fitting) == 1 else None


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_TEXT:
            raise CheckpointError(f"{path} is too long to be what its name says.\n{CURE}")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}\n{CURE}") from error
