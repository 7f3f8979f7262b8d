"""`Optimization`: the learning rate over the steps, and AdamW's numbers, as data."""

from __future__ import annotations

import math
from typing import Any

from attrs import evolve, field, frozen

from riboswitch.checks import (
    instance,
    is_number,
    number,
    one_of,
    optional,
    plain,
    plain_numbers,
    text,
    whole,
)
from riboswitch.errors import UsageError

SCHEDULES = ("constant", "linear", "cosine", "inverse-sqrt")
INITIALS = ("normal", "scaled", "neighbours")

_FLOAT32 = 1e19
"""Below it the product of any two, as of rate and weight decay, is one that float32 can hold."""
_positive_or_0 = number(0, _FLOAT32)


def _whole_if_it_is(value: Any) -> Any:
    """YAML writes a large number of steps as 2.0e+5."""
    value = plain(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


@frozen(kw_only=True, field_transformer=plain_numbers)
class Optimization:
    """How a model is trained: AdamW (Loshchilov and Hutter 2019), and its rate over the steps.

    Attributes:
        schedule: After the warm-up: `constant`; `linear` or `cosine`, down to `floor` at the last
            step of `decay`; `inverse-sqrt`, the peak times sqrt(warmup / step).
        peak: The highest learning rate, reached by a straight line at the end of the warm-up.
        floor: The lowest one: where a linear or cosine decay ends, and what `inverse-sqrt` does not
            go below. It is no higher than the peak; `constant` has none.
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

    schedule: str = field(default="linear", validator=one_of(*SCHEDULES))
    peak: float = field(default=1e-4, validator=_positive_or_0)
    floor: float = field(default=0.0, validator=_positive_or_0)
    warmup: float = field(default=0.02, validator=_positive_or_0)
    decay: int | None = field(default=None, converter=_whole_if_it_is, validator=optional(whole(1)))
    weight_decay: float = field(default=0.01, validator=_positive_or_0)
    beta1: float = field(default=0.9, validator=number(0, 1))
    beta2: float = field(default=0.999, validator=number(0, 1))
    eps: float = field(default=1e-8, validator=_positive_or_0)
    clip: float | None = field(default=1.0, validator=optional(_positive_or_0))
    dropout: float = field(default=0.0, validator=number(0, 1))

    def __attrs_post_init__(self) -> None:
        if self.schedule == "constant" and self.floor:
            raise UsageError(
                f"floor is {self.floor!r}, and a constant rate has none.\n"
                "Leave it out (--lr-floor), or give another schedule."
            )
        if self.floor > self.peak:
            raise UsageError(
                f"floor is {self.floor!r}, and above the peak of {self.peak!r}: the rate would "
                "rise.\nGive a lower floor (--lr-floor), or a higher peak (--lr)."
            )

    def changed(self, **given: Any) -> Optimization:
        """A copy with values that somebody gives, in place of a plan's.

        A floor that is only the plan's gives way: it is no higher than a peak that is given, and 0
        for a constant rate.

        Raises:
            UsageError: A value cannot be, or the end of a decay is given where there is none.
        """
        floor, peak = self.floor, plain(given.get("peak", self.peak))
        if given.get("schedule", self.schedule) == "constant":
            floor = 0.0
        elif is_number(peak):
            floor = min(floor, peak)
        plan = evolve(self, **{"floor": floor, **given})
        if given.get("decay") is not None and not plan._decays:
            raise UsageError(
                f"decay is {plan.decay}, and the schedule {plan.schedule} has no such end.\n"
                "Leave it out, or give another schedule: linear or cosine."
            )
        return plan

    def warmup_steps(self, steps: int) -> float:
        """Steps of the warm-up in a run of so many."""
        return self.warmup * steps if self.warmup < 1 else self.warmup

    def surprise(self, steps: int) -> str | None:
        """Say where a plan for long runs has not come to at the end of a short one."""
        warmup = self.warmup_steps(steps)
        if warmup >= steps > 1:
            return (
                f"the rate warms up for {warmup:.0f} steps, and the run has {steps}: it never "
                f"reaches {self.peak:g}.\nGive a shorter one, as a share: --warmup 0.05."
            )
        last = self.rate(steps, steps)
        if not self._decays or self.decay is None or last <= (self.peak + self.floor) / 2:
            return None
        return (
            f"the rate decays until step {self.decay}, and the run has {steps}: it ends at "
            f"{last:g}, far above {self.floor:g}.\nGive an earlier end: --decay {steps}."
        )

    @property
    def _decays(self) -> bool:
        return self.schedule in ("linear", "cosine")

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
            return max(self.floor, self.peak * math.sqrt(max(warmup, 1) / step))
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

    recipe: str = field(default="bert", validator=text)
    optimization: Optimization = field(
        factory=Optimization, validator=instance(Optimization, "Make one: Optimization(peak=1e-4).")
    )
    initial: str = field(default="normal", validator=one_of(*INITIALS, what="initial weights"))
