"""`Optimization`: the learning rate over the steps, and AdamW's numbers, as data."""

from __future__ import annotations

import math
from typing import Any

from attrs import Attribute, field, frozen, validators

from riboswitch.errors import UsageError

SCHEDULES = ("constant", "linear", "cosine", "inverse-sqrt")
INITIALS = ("normal", "scaled", "neighbours")


def _number(lowest: float, highest: float = math.inf) -> Any:
    def check(_: object, attribute: Attribute[Any], value: Any) -> None:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not lowest <= value < highest:
            bounds = f"from {lowest:g}" + ("" if highest == math.inf else f" to below {highest:g}")
            raise UsageError(f"{attribute.name} is {value!r}, and must be a number {bounds}.")

    return check


def _optional(check: Any) -> Any:
    return validators.optional(check)


def _schedule(_: object, __: Attribute[str], value: str) -> None:
    if value not in SCHEDULES:
        raise UsageError(f"no schedule {value!r}.\nThere are: {', '.join(SCHEDULES)}.")


def _initial(_: object, __: Attribute[str], value: str) -> None:
    if value not in INITIALS:
        raise UsageError(f"no initial weights {value!r}.\nThere are: {', '.join(INITIALS)}.")


@frozen(kw_only=True)
class Optimization:
    """How a model is trained: AdamW (Loshchilov and Hutter 2019), and its rate over the steps.

    Attributes:
        schedule: After the warm-up: `constant`; `linear` or `cosine`, down to `floor` at the last
            step of `decay`; `inverse-sqrt`, the peak times sqrt(warmup / step).
        peak: The highest learning rate, reached by a straight line at the end of the warm-up.
        floor: The lowest one, after the decay.
        warmup: Steps of the warm-up; below 1, a share of all steps.
        decay: The step at which a linear or cosine decay ends; None for the last one.
        weight_decay: Of matrices; biases, LayerNorms and single numbers have none.
            It is decoupled: a step takes rate * weight_decay of them off.
        beta1: Of the mean of the gradients. Both means begin at 0 and are corrected for that.
        beta2: Of the mean of their squares.
        eps: Added to the square root of the latter, after its correction.
        clip: The largest norm of all gradients together; None or 0 for any.
        dropout: Share that is zeroed in training of the numbers that the embedding and both
            blocks of each layer give, before they are added to anything; what is left is divided
            by 1 - dropout.
    """

    schedule: str = field(default="linear", validator=_schedule)
    peak: float = field(default=1e-4, validator=_number(0))
    floor: float = field(default=0.0, validator=_number(0))
    warmup: float = field(default=0.02, validator=_number(0))
    decay: int | None = field(default=None, validator=_optional(_number(1)))
    weight_decay: float = field(default=0.01, validator=_number(0))
    beta1: float = field(default=0.9, validator=_number(0, 1))
    beta2: float = field(default=0.999, validator=_number(0, 1))
    eps: float = field(default=1e-8, validator=_number(0))
    clip: float | None = field(default=1.0, validator=_optional(_number(0)))
    dropout: float = field(default=0.0, validator=_number(0, 1))

    def warmup_steps(self, steps: int) -> float:
        """Steps of the warm-up in a run of so many."""
        return self.warmup * steps if self.warmup < 1 else self.warmup

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step.

        Args:
            step: From 1.
            steps: Of the whole run.
        """
        warmup = self.warmup_steps(steps)
        if step < warmup:
            return self.peak * step / warmup
        if self.schedule == "constant":
            return self.peak
        if self.schedule == "inverse-sqrt":
            return self.peak * math.sqrt(max(warmup, 1) / step)
        done = min((step - warmup) / max((self.decay or steps) - warmup, 1), 1.0)
        left = (1 + math.cos(math.pi * done)) / 2 if self.schedule == "cosine" else 1 - done
        return self.floor + (self.peak - self.floor) * left


@frozen(kw_only=True)
class Pretraining:
    """How a model's authors trained it, which is what `riboswitch pretrain` does unless told.

    Attributes:
        recipe: What is masked, a name of `riboswitch.masking.recipe`.
        optimization: AdamW and its rate.
        initial: How its first weights are drawn, a name of `initial_weights`.
    """

    recipe: str = field(default="bert", validator=validators.instance_of(str))
    optimization: Optimization = field(factory=Optimization)
    initial: str = field(default="normal", validator=_initial)
