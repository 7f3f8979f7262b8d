"""Where a model is trained, and how long a sequence may be there."""

from __future__ import annotations

from riboswitch.errors import BackendError, UsageError
from riboswitch.limits import max_residues
from riboswitch.loading import place
from riboswitch.training.learner import TrainingBackend
from riboswitch.training.request import Request
from riboswitch.training.running import launched

WORDS = 1022
"""The nucleotides, k-mers or codons that a sequence has at most, unless more are asked for."""


def placed(request: Request) -> tuple[TrainingBackend, str]:
    """The backend and its device.

    Raises:
        BackendError: It does not train, or knows nothing of the launcher's processes.
        UsageError: The model has no head to train by.
    """
    backend, device, _ = place(
        request.entry, request.backend, request.device, request.dtype, trains=True
    )
    if isinstance(backend, TrainingBackend) and launched() > backend.process()[1]:
        raise BackendError(
            f"A launcher started {launched()} processes, and the backend {backend.name!r} does not "
            "know of them.\nGive the backend of that launcher: torch with torchrun, paddle with "
            "paddle.distributed.launch."
        )
    if not isinstance(backend, TrainingBackend):
        raise BackendError(
            f"The backend {backend.name!r} says that it trains and has no learner.\n"
            "Update or uninstall it, or take another one."
        )
    if not request.entry.architecture.lm_head:
        raise UsageError(f"{request.entry.name} has no head that predicts tokens.")
    return backend, device


def longest(request: Request) -> int:
    """Letters of a sequence at most: what is asked for, or what fits into the model.

    Raises:
        UsageError: More are asked for than it takes.
    """
    entry, alphabet = request.entry, request.entry.alphabet
    prompt = bool(alphabet.ind and request.source.types and request.shown)
    limit = max_residues(entry, prompt=prompt)
    if request.longest is None:
        usual = (WORDS - 1) * alphabet.stride + alphabet.k
        return usual if limit is None else min(usual, limit)
    if request.longest < alphabet.k or (limit is not None and request.longest > limit):
        most = "letters or more" if limit is None else f"to {limit} letters"
        raise UsageError(
            f"longest is {request.longest}, and {entry.name} takes {alphabet.k} {most}."
        )
    return request.longest - request.longest % alphabet.stride
