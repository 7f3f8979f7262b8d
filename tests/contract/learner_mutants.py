"""PyTorch's learner with one mistake each, and the test of the contract that each must fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from attrs import evolve

from riboswitch.registry import registry


class Sound:
    """PyTorch's learner, until one of its parts is replaced."""

    def __init__(self, architecture, weights, **options) -> None:
        self.architecture, self.weights, self.options = architecture, weights, options
        self.inner = registry().backend("torch").learner(architecture, weights, **options)
        self.rank, self.world, self.calls = 0, 1, 0
        self.prepare()

    def prepare(self) -> None:
        pass

    @property
    def backbone(self):
        return self.inner.backbone

    @property
    def encoder(self):
        return self.inner.backbone.module

    def accumulate(self, work, *, last):
        return self.inner.accumulate(work, last=last)

    def step(self, rate):
        return self.inner.step(rate)

    def evaluate(self, work):
        return self.inner.evaluate(work)

    def total(self, numbers):
        return self.inner.total(numbers)

    def state(self):
        return self.inner.state()

    def restore(self, state, steps):
        self.inner.restore(state, steps)


class Broken:
    """A backend of such learners."""

    name, kind, number = "broken", Sound, (0, 1)

    def __init__(self) -> None:
        self.torch = registry().backend("torch")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.torch, name)

    def learner(self, architecture, weights, **options):
        return self.kind(architecture, weights, **options)

    def process(self):
        return self.number


def by_hand(**flags: Any) -> dict[str, Any]:
    """AdamW written out, with one thing otherwise."""

    def step(self, rate):
        import torch

        inner, o = self.inner, self.inner.optimization
        ps = list(inner.trained.values())
        norm = torch.stack([p.grad.norm() for p in ps]).norm()
        rate = flags.get("rate", rate)
        most = float("inf") if o.clip is None else o.clip
        for p in ps:
            grad = p.grad * min(1, most / (float(p.grad.norm() if "each" in flags else norm) or 1))
            if "values" in flags:
                grad = p.grad.clamp(-most, most)
            decay = o.weight_decay * flags.get("decays", lambda p: p.ndim >= 2)(p)
            grad = grad + decay * p.data if "coupled" in flags else grad
            s = inner.adamw.state[p] or {
                "step": torch.tensor(0.0),
                "exp_avg": torch.zeros_like(p.data),
                "exp_avg_sq": torch.zeros_like(p.data),
            }
            s["step"] += 1
            s["exp_avg"].lerp_(grad, 1 - o.beta1)
            s["exp_avg_sq"].lerp_(grad**2, 1 - o.beta2)
            inner.adamw.state[p] = s
            one, two = (1 - b ** float(s["step"]) for b in (o.beta1, o.beta2))
            if "uncorrected" in flags:
                one = two = 1
            square = s["exp_avg_sq"] / two
            root = (square + o.eps).sqrt() if "inside" in flags else square.sqrt() + o.eps
            move = s["exp_avg"] / one / root + ("coupled" not in flags) * decay * p.data
            if "lazy" in flags and p.ndim > 1:
                move *= (p.grad != 0).any(1, keepdim=True)
            p.data -= rate * move
        inner.adamw.zero_grad()
        return float(norm) if "after" not in flags else min(float(norm), most)

    return {"step": step}


def seeing(change: Callable, evaluation: bool = True) -> dict[str, Any]:
    """Change each work before it is seen."""
    parts = {"accumulate": lambda self, w, *, last: self.inner.accumulate(change(w), last=last)}
    if evaluation:
        parts["evaluate"] = lambda self, work: self.inner.evaluate(change(work))
    return parts


def saying(change: Callable) -> dict[str, Any]:
    """Change what is said of each work."""
    return {
        "accumulate": lambda self, w, *, last: change(w, self.inner.accumulate(w, last=last)),
        "evaluate": lambda self, work: change(work, self.inner.evaluate(work)),
    }


def stating(change: Callable) -> dict[str, Any]:
    """Change the state that is given out, name by name."""

    def state(self):
        found = self.inner.state()
        return dict(change(self, n, found[n]) for n in found)

    return {"state": state}


def preparing(change: Callable) -> dict[str, Any]:
    return {"prepare": change}


def scaled(name: str, scale: float) -> dict[str, Any]:
    """A gradient of one parameter that is a little off."""

    def prepare(self):
        self.encoder.get_parameter(name).register_hook(lambda g: g * scale)

    return preparing(prepare)


def cut(part: str) -> dict[str, Any]:
    """A part of the encoder that gradients do not go through."""

    def prepare(self):
        self.encoder.get_submodule(part).register_forward_hook(lambda m, i, o: o.detach() + 0 * o)

    return preparing(prepare)


def whole_decoder(self):
    """Gradients of the embedding, without those of the head that it is tied to."""
    from torch.nn import functional

    decoder = self.encoder.lm_head.decoder
    if self.architecture.tied:
        decoder.forward = lambda x: functional.linear(x, decoder.weight.detach(), decoder.bias)


def without(module: str) -> dict[str, Any]:
    def prepare(self):
        self.encoder.get_submodule(module).p = 0.0

    return preparing(prepare)


def dropping(function: Callable) -> dict[str, Any]:
    """Drop by a function of one's own: (x, share) to x."""

    def prepare(self):
        from torch import nn

        for module in self.encoder.modules():
            if isinstance(module, nn.Dropout):
                module.forward = lambda x, m=module: function(x, m.p) if m.training else x

    return preparing(prepare)


def unscaled(x, share):
    from torch.nn import functional

    return functional.dropout(x, share) * (1 - share)


def keeping(x, share):
    from torch.nn import functional

    return functional.dropout(x, 1 - share)


def columns(x, share):
    from torch.nn import functional

    return x * functional.dropout(x.new_ones(1, x.shape[1]), share)


def rows(x, share):
    from torch.nn import functional

    return x * functional.dropout(x.new_ones(len(x), 1), share)


def noisy(self, work):
    self.inner.objective.train()
    self.inner.objective.eval, done = (lambda: None), self.inner.evaluate(work)
    del self.inner.objective.eval
    self.inner.objective.eval()
    return done


def left_in_training(self, work, *, last):
    done = self.inner.accumulate(work, last=last)
    self.inner.objective.train()
    return done


def learning(self, work):
    """Keep the gradients of what is only looked at."""
    self.inner.accumulate(work, last=False)
    return self.inner.evaluate(work)


def forgetting(self, work):
    self.inner.adamw.zero_grad()
    return self.inner.evaluate(work)


def only_the_last(self, work, *, last):
    self.inner.adamw.zero_grad()
    return self.inner.accumulate(work, last=last)


def never_cleared(self, rate):
    kept = {n: p.grad.clone() for n, p in self.inner.trained.items()}
    norm = self.inner.step(rate)
    for name, parameter in self.inner.trained.items():
        parameter.grad = kept[name]
    return norm


def counted(self, work, *, last):
    self.calls += 1
    return self.inner.accumulate(evolve(work, seed=work.seed + self.calls), last=last)


def in_place(self, rate):
    norm, now = self.inner.step(rate), self.backbone.canonical()
    for name, array in self.weights.items():
        if array.flags.writeable:
            array[...] = now[name]
    return norm


def stale(self):
    self.first = (
        registry()
        .backend("torch")
        .build(self.architecture, self.weights, device="cpu", dtype="float32")
    )


def with_the_pooler(self, rate):
    norm, pooler = self.inner.step(rate), self.encoder.pooler
    if pooler is not None:
        pooler.weight.data *= 1 - rate
    return norm


def half(self, rate):
    norm = self.inner.step(rate)
    for parameter in self.inner.trained.values():
        if self.options["dtype"] == "bfloat16":
            parameter.data = parameter.data.bfloat16().float()
    return norm


def without_steps(self, state, steps):
    self.inner.restore(state, min(steps, 1))


def without_squares(self, state, steps):
    self.inner.restore({n: state[n] * n.startswith("mean") for n in state}, steps)


def keeping_what_is_given(self, state, steps):
    self.inner.restore(state, steps)
    self.given = state


def into_what_is_given(self, rate):
    norm, state = self.inner.step(rate), self.inner.state()
    for name, array in getattr(self, "given", {}).items():
        array[...] = state[name]
    return norm


def at_once(self, state, steps):
    """A state of zeros where there is none."""
    self.inner.restore(state or {n: 0 * w for n, w in zeros(self)}, steps)


def zeros(self):
    weights = self.backbone.canonical()
    return ((f"{k}.{n}", weights[n]) for k in ("mean", "square") for n in weights)


def plain_weights(self, work, *, last):
    return self.inner.accumulate(evolve(work, weights=np.ones_like(work.weights)), last=last)


def mean_of_losses(work):
    total = work.weights.sum()
    return evolve(work, weights=work.weights / (total if total else 1))


def with_specials(work):
    return evolve(work, tail=np.zeros_like(work.tail))


def at_the_first_token(work):
    """Predict types where RNAErnie does, in the place of the mean."""
    first = np.array([len(np.unique(work.places)), *work.batch.offsets])[work.sequences + 1]
    places = np.concatenate([work.places, first])
    return evolve(work, places=places, sequences=np.zeros(0, np.int64))


def shifted(work):
    """Labels of sequences before those of tokens."""
    return evolve(work, labels=np.roll(work.labels, len(work.sequences)))


def nothing_to_do(self, work, *, last):
    if not len(work.labels):
        raise ValueError("nothing to predict")
    return self.inner.accumulate(work, last=last)


def skipping(self, rate):
    """No step where there are no gradients."""
    if not any(p.grad is not None and p.grad.any() for p in self.inner.trained.values()):
        self.inner.adamw.zero_grad()
        return 0.0
    return self.inner.step(rate)


ROW = "dropout_is_where_it_should_be"
SEED = "dropout_depends_on_the_seed_alone"
ADAMW, SEVERAL = "a_step_is_one_of_adamw", "several_steps_are_those_of_adamw"
CLIPPED = "gradients_are_clipped_by_the_norm_of_all"
SLOPES, NUMPY = "gradients_are_the_slopes_of_the_loss", "losses_and_hits_are_those_of_numpy"
STATE = "names_shapes_and_dtypes_of_the_state"
RESTORED = "what_is_restored_goes_on_as_if_it_had_not_stopped"
COPIES, BACKBONE = "it_begins_with_copies_of_the_weights", "the_backbone_is_the_model_as_it_stands"
ALONE = "one_process_is_alone"
SHARE, SPREAD = "the_share_is_that_of_single_numbers", "what_is_left_is_scaled_up"
MUTANTS: dict[str, tuple[dict[str, Any], str, Any]] = {
    "decays biases": (by_hand(decays=lambda p: True), ADAMW, None),
    "decays nothing": (by_hand(decays=lambda p: False), ADAMW, None),
    "decays single numbers": (by_hand(decays=lambda p: p.ndim != 1), ADAMW, None),
    "decays by the gradient": (by_hand(coupled=True), ADAMW, None),
    "decays only rows that were seen": (by_hand(lazy=True), ADAMW, None),
    "forgets the correction": (by_hand(uncorrected=True), ADAMW, None),
    "has eps inside the root": (by_hand(inside=True), ADAMW, None),
    "takes the peak for the rate": (by_hand(rate=1e-4), ADAMW, None),
    "clips each weight": (by_hand(each=True), CLIPPED, 0.9),
    "clips each number": (by_hand(values=True), CLIPPED, 0.1),
    "says the norm after clipping": (by_hand(after=True), CLIPPED, 0.9),
    "does not clip": (
        {"__init__": lambda self, a, w, *, optimization, **o:
            Sound.__init__(self, a, w, optimization=evolve(optimization, clip=None), **o)},
        SEVERAL, 1.0,
    ),
    "trains the pooler": ({"step": with_the_pooler}, "the_pooler_is_not_trained", None),
    "rounds its weights": ({"step": half}, "half_precision_keeps_precise_weights", None),
    "steps back": ({"step": lambda self, rate: self.inner.step(-rate)}, "losses_fall", None),
    "keeps gradients": ({"step": never_cleared}, "gradients_are_forgotten_after_a_step", None),
    "makes no step for nothing": ({"step": skipping}, SEVERAL, None),
    "is off in one bias": (scaled("layers.0.attention.qkv.bias", 1.01), SLOPES, "plain"),
    "is off in a scale": (scaled("layers.1.attention.norm.weight", 1.001), SLOPES, "norm-post"),
    "is off in a number": (scaled("layers.1.feed_forward.beta", 1.01), SLOPES, "rinalmo"),
    "stops at attention": (cut("layers.0.attention"), SLOPES, "plain"),
    "stops at the embedding": (cut("embedding"), SLOPES, "plain"),
    "has no gradient of a tied head": (preparing(whole_decoder), SLOPES, "plain"),
    "ignores weights": ({"accumulate": plain_weights}, SLOPES, "plain"),
    "takes the mean": (seeing(mean_of_losses), SLOPES, "plain"),
    "keeps the last gradients": (
        {"accumulate": only_the_last}, "gradients_of_several_works_add_up", None
    ),
    "pools special tokens": (seeing(with_specials), "other_specials_are_not_pooled", None),
    "pools special tokens in training": (seeing(with_specials, False), NUMPY, "plain"),
    "predicts types at the first token": (seeing(at_the_first_token), NUMPY, "plain"),
    "mixes up labels": (seeing(shifted), NUMPY, "rinalmo"),
    "says weighted losses": (
        saying(lambda w, p: p._replace(losses=p.losses * w.weights)), NUMPY, "plain"
    ),
    "says float32": (
        saying(lambda w, p: p._replace(losses=p.losses.astype("f4"))), NUMPY, "plain"
    ),
    "says no hits": (saying(lambda w, p: p._replace(hits=p.hits & False)), NUMPY, "plain"),
    "needs something to do": (
        {"accumulate": nothing_to_do}, "a_work_with_nothing_to_predict_gives_nothing", None
    ),
    "evaluates with dropout": ({"evaluate": noisy}, "evaluation_is_without_dropout", None),
    "learns from looking": ({"evaluate": learning}, "evaluation_changes_nothing", None),
    "forgets when looking": ({"evaluate": forgetting}, "evaluation_changes_nothing", None),
    "drops in the backbone": ({"accumulate": left_in_training}, BACKBONE, None),
    "shows where it began": (
        {"prepare": stale, "backbone": property(lambda self: self.first)}, BACKBONE, None
    ),
    "counts seeds": ({"accumulate": counted}, SEED, None),
    "has one seed": (seeing(lambda work: evolve(work, seed=0)), SEED, None),
    "drops nothing of the embedding": (without("embedding.dropout"), ROW, None),
    "drops nothing of a block": (without("layers.1.feed_forward.dropout"), ROW, None),
    "keeps the share": (dropping(keeping), ROW, None),
    "drops whole tokens": (dropping(rows), SHARE, None),
    "drops the same of all": (dropping(columns), "each_token_has_its_own_dropout", None),
    "does not scale up": (dropping(unscaled), SPREAD, None),
    "has other names": (stating(lambda self, n, a: (f"adamw.{n}", a)), STATE, None),
    "has roots": (
        stating(lambda self, n, a: (n, np.sqrt(a) if n.startswith("square") else a)), ADAMW, None
    ),
    "has a state of float64": (stating(lambda self, n, a: (n, a.astype("f8"))), STATE, None),
    "has a flat state": (stating(lambda self, n, a: (n, np.ravel(a))), STATE, None),
    "has a state of zeros at first": (
        {"state": lambda self: self.inner.state() or dict(zeros(self))}, STATE, None
    ),
    "loses steps": ({"restore": without_steps}, RESTORED, None),
    "loses squares": ({"restore": without_squares}, RESTORED, None),
    "restores nothing": ({"restore": lambda self, state, steps: None}, RESTORED, None),
    "writes into a checkpoint": (
        {"restore": keeping_what_is_given, "step": into_what_is_given}, RESTORED, None
    ),
    "cannot restore nothing": (
        {"restore": at_once}, "restoring_nothing_is_a_beginning", None
    ),
    "trains what it is given": ({"step": in_place}, COPIES, None),
    "says there are two": (preparing(lambda self: setattr(self, "world", 2)), ALONE, None),
    "doubles": ({"total": lambda self, numbers: 2 * numbers}, ALONE, None),
    "rounds totals": ({"total": lambda self, numbers: numbers.astype("f4")}, ALONE, None),
}  # fmt: skip
