"""What a model can embed, said before anything is computed."""

from __future__ import annotations

from riboswitch.errors import SequenceError, UsageError
from riboswitch.interfaces import ModelEntry

POOLS = ("mean", "max", "cls")


def check_embed(
    entry: ModelEntry,
    *,
    pool: str | None,
    layer: int = -1,
    window: int | None = None,
    prompt: bool = False,
) -> None:
    """Raise `UsageError` for arguments of `embed` that cannot be right for any sequence."""
    if pool is not None and pool not in POOLS:
        raise UsageError(f"There is no pooling {pool!r}.\nThere are: {', '.join(POOLS)}")
    for name, value in (("layer", layer), ("window", window)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise UsageError(f"{name} must be a whole number, not {value!r}.")
    n = entry.architecture.num_layers
    if not -n - 1 <= layer <= n:
        raise UsageError(f"There is no layer {layer}: {entry.name} has {-n - 1} to {n}.")
    if window is None:
        return
    if window < max(2 * entry.alphabet.stride, entry.alphabet.k + 1):
        raise UsageError(f"A window of {window} residues is too short to overlap.")
    if entry.alphabet.stride > 1 and window % entry.alphabet.stride:
        raise UsageError(f"A window of codons must be divisible by 3; {window} is not.")
    limit = max_residues(entry, prompt=prompt)
    if limit is not None and window > limit:
        raise UsageError(
            f"A window of {window} residues is longer than the {limit} that {entry.name} takes."
        )


def max_residues(entry: ModelEntry, *, prompt: bool = False) -> int | None:
    """Letters of the longest text that the model takes; None without a limit."""
    limit = entry.architecture.max_tokens
    if limit is None:
        return None
    return entry.alphabet.num_letters(limit - (4 if prompt else 2))


def length_problem(
    entry: ModelEntry, num_letters: int, window: int | None, prompt: bool
) -> str | None:
    """Say why a text of so many letters cannot be embedded; None when it can."""
    if not num_letters:
        return "it is empty."
    try:
        entry.alphabet.check_length(num_letters)
    except SequenceError as error:
        return str(error)
    limit = max_residues(entry, prompt=prompt)
    piece = min(num_letters, window or num_letters)
    if limit is not None and piece > limit:
        return (
            f"it has {num_letters} residues; {entry.name} takes at most {limit}, "
            f"or more in overlapping pieces (window={limit})."
        )
    return None
