"""Where a model is trained, and how long a sequence may be there."""

from __future__ import annotations

from riboswitch.errors import BackendError, UsageError
from riboswitch.loading import place
from riboswitch.training.learner import TrainingBackend
from riboswitch.training.request import Request
from riboswitch.training.running import launched


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
    """Letters that fit into the model, with the special tokens and a prompt.

    Raises:
        UsageError: More are asked for than it takes.
    """
    alphabet, limit = request.entry.alphabet, request.entry.architecture.max_tokens
    special = 4 if alphabet.ind and request.source.types and request.shown else 2
    words = 1022 if limit is None else min(1022, limit - special)
    most = (words - 1) * alphabet.stride + alphabet.k
    if request.longest is None:
        return most
    if not alphabet.k <= request.longest <= (most if limit is not None else request.longest):
        raise UsageError(
            f"longest is {request.longest}, and {request.entry.name} takes {alphabet.k} to {most} "
            "letters."
        )
    return request.longest - request.longest % alphabet.stride
