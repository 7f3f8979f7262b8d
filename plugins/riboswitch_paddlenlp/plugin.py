"""What this package announces, before PaddleNLP is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from riboswitch.architecture import Architecture
from riboswitch.hookspecs import impl
from riboswitch.interfaces import Backend, BackendEntry

_ERNIE: Mapping[str, Any] = {
    "norm": "post",
    "positions": "learned",
    "position_offset": 0,
    "embedding_norm": True,
    "final_norm": False,
    "norm_eps": 1e-12,
    "attention_bias": True,
    "token_dropout": None,
    "pooler": True,
}


@impl
def riboswitch_backends() -> list[BackendEntry]:
    """PaddleNLP's `ErnieModel`; `auto` never takes it, since all the others do more."""
    entry = BackendEntry(
        name="paddlenlp",
        requires=("paddlenlp", "paddle"),
        install='pip install "riboswitch[paddlenlp]"',
        load=_load,
        priority=-10,
        refuses=refuses,
    )
    return [entry]


def refuses(architecture: Architecture) -> str | None:
    """Say what of an architecture `ErnieModel` has otherwise.

    Source: paddlenlp/transformers/ernie/modeling.py of PaddleNLP 2.8.1. The config's epsilon
    is read by nobody there, and one activation serves the layers and the head.
    """
    if architecture.activation not in ("relu", "gelu"):
        return f"ErnieModel knows relu and gelu, not {architecture.activation}"
    head = {"tied": True, "lm_activation": architecture.activation}
    wanted = {**_ERNIE, **head} if architecture.lm_head else _ERNIE
    for name, value in wanted.items():
        if (asked := getattr(architecture, name)) != value:
            return f"ErnieModel has {name} {value!r}, not {asked!r}"
    return None


def _load() -> Backend:
    from riboswitch_paddlenlp.backend import PaddleNLPBackend

    return PaddleNLPBackend()
