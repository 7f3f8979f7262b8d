"""Training on Paddle: one process, or several under `paddle.distributed.launch`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import distributed, nn
from paddle.nn import functional

from riboswitch.cores import Threads
from riboswitch.interfaces import Array
from riboswitch.optimization import Optimization
from riboswitch.training.learner import Predicted, Work
from riboswitch.weights import LazyWeights
from riboswitch_paddle.attention import Packing, Tensor, pieces
from riboswitch_paddle.backbone import Encoder, PaddleBackbone, out_of_memory
from riboswitch_paddle.runtime import environment, on_device

MOMENTS = {"mean": "moment1_0", "square": "moment2_0"}


class Objective(nn.Layer):
    """The encoder and what is predicted by it."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        if encoder.lm_head is None:
            raise ValueError("the model has no head that predicts tokens")
        self.encoder, self.head = encoder, encoder.lm_head

    def forward(self, ids: Tensor, packing: Packing, targets: dict[str, Tensor]) -> Tensor:
        """Logits of all labels, float32 (m + t, V)."""
        x = self.encoder(ids, packing)["representation"]
        rows = x.gather(targets["places"])
        if len(targets["sequences"]):
            rows = paddle.concat([rows, _means(x, packing, targets)])
        return self.head(rows).astype("float32")


def _means(x: Tensor, packing: Packing, targets: dict[str, Tensor]) -> Tensor:
    """The mean state of the residues of some sequences, (t, D)."""
    ends = paddle.diff(packing.offsets).astype("int64") - targets["tail"]
    words = packing.positions < ends.gather(packing.sequences)
    words = words.logical_and(packing.positions >= 1).astype(x.dtype)
    sums = paddle.geometric.segment_sum(x * words.unsqueeze(-1), packing.sequences)
    means = sums / (ends - 1).clip(min=1).astype(x.dtype).unsqueeze(-1)
    return means.gather(targets["sequences"])


class PaddleLearner:
    """Layers, their AdamW and, in several processes, the exchange of gradients."""

    def __init__(
        self,
        encoder: Encoder,
        device: str,
        dtype: str,
        optimization: Optimization,
        threads: Threads,
    ) -> None:
        self.device, self.optimization, self.threads = device, optimization, threads
        self.half = dtype == "bfloat16"
        self.rank, self.world = process()
        if self.world > 1:
            _join(device)
        encoder.set_dropout(optimization.dropout)
        self.backbone = PaddleBackbone(encoder, device, threads)
        self.objective = Objective(encoder)
        self.objective.eval()
        self.trained = _trained(encoder)
        self.adamw = _adamw(self.trained, optimization)
        self.restored: dict[str, Tensor] = {}  # until AdamW takes it, at the next step

    def accumulate(self, work: Work, *, last: bool) -> Predicted:
        """Forward and backward."""
        del last  # gradients are exchanged by `step`
        with self._running(), self._training(), out_of_memory(work.batch):
            paddle.seed(work.seed)
            losses, hits = self._losses(work)
            if len(losses):
                (losses * self._tensor(work.weights)).sum().backward()
            return _predicted(losses, hits)

    def step(self, rate: float) -> float:
        """Exchange, clip and update."""
        with self._running(), paddle.no_grad():
            gradients = [_gradient(p) for p in self.trained.values()]
            if self.world > 1:
                _add_up(gradients)
            norm = _clip(gradients, self.optimization.clip)
            self.adamw.set_lr(rate)
            self.adamw.step()
            self.adamw.clear_grad(set_to_zero=False)
        self.restored = {}
        return norm

    def evaluate(self, work: Work) -> Predicted:
        """Predict as it is used afterwards."""
        with self._running(), out_of_memory(work.batch), paddle.no_grad():
            return _predicted(*self._losses(work))

    def total(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up over all processes."""
        if self.world == 1:
            return numbers
        with self._running():
            summed = self._tensor(numbers)
            distributed.all_reduce(summed)
            result: NDArray[np.float64] = summed.numpy()
        return result

    def state(self) -> Mapping[str, Array]:
        """AdamW's means under canonical names."""
        states = self.restored or self.adamw.state_dict()
        if not states:
            return {}
        encoder = self.backbone.module
        views = {
            kind: encoder.canonical({n: states[f"{p.name}_{key}"] for n, p in self.trained.items()})
            for kind, key in MOMENTS.items()
        }
        names = [f"{kind}.{name}" for kind, view in views.items() for name in view]
        return LazyWeights(names, lambda n: views[n.partition(".")[0]][n.partition(".")[2]])

    def restore(self, state: Mapping[str, Array], steps: int) -> None:
        """Give AdamW its means back."""
        if not state:
            return
        encoder, o = self.backbone.module, self.optimization
        powers = {f"beta{n}_pow_acc_0": _power(b, steps) for n, b in ((1, o.beta1), (2, o.beta2))}
        for name, parameter in self.trained.items():
            found = dict(powers)
            for kind, key in MOMENTS.items():
                array = encoder.assembled(name, _reader(state, kind))
                found[key] = self._tensor(np.array(array, np.float32))
            self.restored |= {f"{parameter.name}_{key}": tensor for key, tensor in found.items()}
        self.adamw.set_state_dict(self.restored)

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Tell Paddle what holds for the calling thread."""
        self.threads.apply()
        with on_device(self.device):
            yield

    @contextmanager
    def _training(self) -> Iterator[None]:
        """With dropout; at all other times the backbone is one in evaluation mode."""
        self.objective.train()
        try:
            yield
        finally:
            self.objective.eval()

    def _losses(self, work: Work) -> tuple[Tensor, Tensor]:
        if not len(work.labels):
            return paddle.zeros([0]), paddle.zeros([0], "bool")
        ids = self._tensor(work.batch.ids.astype(np.int64))
        targets = {
            name: self._tensor(getattr(work, name))
            for name in ("places", "sequences", "tail", "labels")
        }
        with self._products():
            logits = self.objective(ids, Packing(work.batch, ids.place), targets)
        losses = functional.cross_entropy(logits, targets["labels"], reduction="none")
        return losses, logits.argmax(-1) == targets["labels"]

    def _products(self) -> AbstractContextManager[None]:
        if not self.half:
            return nullcontext()
        return paddle.amp.auto_cast(level="O1", dtype="bfloat16")

    def _tensor(self, array: Array) -> Tensor:
        return paddle.to_tensor(array, place=self.backbone.module.embedding.tokens.weight.place)


def process() -> tuple[int, int]:
    """What Paddle's launcher says."""
    number, count = os.environ.get("PADDLE_TRAINER_ID"), os.environ.get("PADDLE_TRAINERS_NUM")
    return int(number or 0), int(count or 1)


def local_device(device: str) -> str:
    """Of several processes on one machine each has a GPU of its own."""
    return f"gpu:{distributed.ParallelEnv().device_id}" if device == "gpu" else device


def _join(device: str) -> None:
    """Join the other processes: on a machine with GPUs too, the CPU's have gloo."""
    gloo = environment("PADDLE_DISTRI_BACKEND", "gloo") if device == "cpu" else nullcontext()
    with gloo:
        distributed.init_parallel_env()


def _trained(encoder: Encoder) -> dict[str, Tensor]:
    """All but the pooler, which nothing that is predicted goes through."""
    found = {}
    for name, parameter in encoder.named_parameters():
        parameter.stop_gradient = name.startswith("pooler.")
        if not parameter.stop_gradient:
            found[name] = parameter
    return found


def _adamw(trained: Mapping[str, Tensor], o: Optimization) -> paddle.optimizer.AdamW:
    matrices = {p.name for p in trained.values() if p.ndim >= 2}
    return paddle.optimizer.AdamW(
        float(o.peak),
        beta1=float(o.beta1),
        beta2=float(o.beta2),
        epsilon=float(o.eps),
        parameters=list(trained.values()),
        weight_decay=float(o.weight_decay),
        apply_decay_param_fun=matrices.__contains__,
    )


def _reader(state: Mapping[str, Array], kind: str) -> Callable[[str], Array]:
    return lambda name: state[f"{kind}.{name}"]


def _power(beta: float, steps: int) -> Tensor:
    """What AdamW has after so many steps: products in float32, which are rounded one by one."""
    powers = np.multiply.accumulate(np.full(steps + 1, beta, np.float32))
    return paddle.to_tensor(powers[-1:], place=paddle.CPUPlace())


def _gradient(parameter: Tensor) -> Tensor:
    """Its gradient; where nothing was to be predicted there is none, and it is 0."""
    if parameter.grad is None:
        parameter.grad = paddle.zeros_like(parameter)
    return parameter.grad


def _add_up(gradients: Sequence[Tensor]) -> None:
    """Sum each over all processes, in place, by one exchange."""
    whole = paddle.concat([g.flatten() for g in gradients])
    distributed.all_reduce(whole)
    for gradient, part in zip(gradients, pieces(whole, [g.size for g in gradients]), strict=True):
        paddle.assign(part.reshape(gradient.shape), output=gradient)


def _clip(gradients: Sequence[Tensor], most: float | None) -> float:
    """Scale all, in place, to the norm that they may have together; the one that they had."""
    norm = float(paddle.stack([g.flatten().norm() for g in gradients]).norm())
    if most and norm + 1e-6 > most:
        for gradient in gradients:
            gradient.scale_(most / (norm + 1e-6))
    return norm


def _predicted(losses: Tensor, hits: Tensor) -> Predicted:
    return Predicted(losses.detach().astype("float64").numpy(), hits.numpy())
