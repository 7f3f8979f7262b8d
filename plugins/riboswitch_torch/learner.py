"""Training on PyTorch: one process, or several under torchrun by Lightning Fabric."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from riboswitch.errors import BackendError
from riboswitch.interfaces import Array
from riboswitch.optimization import Optimization
from riboswitch.training.learner import Predicted, Work
from riboswitch.weights import LazyWeights
from riboswitch_torch.attention import Packing
from riboswitch_torch.backbone import Encoder, TorchBackbone, out_of_memory

MOMENTS = {"mean": "exp_avg", "square": "exp_avg_sq"}


class Objective(nn.Module):
    """The encoder and what is predicted by it: one call, so that gradients can be exchanged."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        if encoder.lm_head is None:
            raise ValueError("the model has no head that predicts tokens")
        self.encoder, self.head = encoder, encoder.lm_head

    def forward(self, ids: Tensor, packing: Packing, targets: dict[str, Tensor]) -> Tensor:
        """Logits of all labels, float32 (m + t, V)."""
        x = self.encoder(ids, packing)["representation"]
        rows = x[targets["places"]]
        if len(targets["sequences"]):
            rows = torch.cat([rows, _means(x, packing, targets)])
        logits: Tensor = self.head(rows).float()
        return logits


def _means(x: Tensor, packing: Packing, targets: dict[str, Tensor]) -> Tensor:
    """The mean state of the residues of some sequences, (t, D)."""
    lengths = packing.offsets.diff().long()
    words = packing.positions >= 1
    words &= packing.positions < (lengths - targets["tail"]).repeat_interleave(lengths)
    owners = torch.arange(len(lengths), device=x.device).repeat_interleave(lengths)
    sums = x.new_zeros(len(lengths), x.shape[1]).index_add(0, owners[words], x[words])
    means = sums / (lengths - targets["tail"] - 1).clamp(min=1)[:, None].to(x.dtype)
    return means[targets["sequences"]]


class TorchLearner:
    """A module, its AdamW and, in several processes, Fabric's wrapper that exchanges gradients."""

    def __init__(
        self, encoder: Encoder, device: torch.device, dtype: str, optimization: Optimization
    ) -> None:
        self.device, self.optimization = device, optimization
        with _flushed():  # threads that begin here stay so
            torch.ones(torch.get_num_threads() << 15).add_(1)
        self.dtype = torch.bfloat16 if dtype == "bfloat16" else None
        self.fabric = _fabric(device)
        self.rank: int = self.fabric.global_rank if self.fabric else 0
        self.world: int = self.fabric.world_size if self.fabric else 1
        encoder.set_dropout(optimization.dropout)
        self.backbone = TorchBackbone(encoder)
        objective: Any = Objective(encoder)
        self.trained = _trained(encoder)
        self.adamw = _adamw(self.trained, optimization)
        self.objective = objective
        if self.fabric:
            self.objective, self.adamw = self.fabric.setup(objective, self.adamw)
        self.objective.eval()

    def accumulate(self, work: Work, *, last: bool) -> Predicted:
        """Forward and backward; gradients are exchanged with the last one."""
        torch.manual_seed(work.seed)
        waits = self.fabric and not last
        context = self.fabric.no_backward_sync(self.objective) if waits else nullcontext()
        with out_of_memory(work.batch), context, self._training(), _flushed():
            losses, hits = self._losses(work)
            weights = torch.from_numpy(work.weights).to(self.device)
            # Fabric takes the mean over processes, and here the sum is wanted.
            loss = (losses * weights).sum() * self.world
            if self.fabric:
                self.fabric.backward(loss)
            else:
                loss.backward()  # type: ignore[no-untyped-call]  # torch's stubs lack it
        return _predicted(losses, hits)

    def step(self, rate: float) -> float:
        """Clip and update."""
        parameters = list(self.trained.values())
        norm = nn.utils.clip_grad_norm_(parameters, self.optimization.clip or float("inf"))
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return float(norm)

    @torch.no_grad()
    def evaluate(self, work: Work) -> Predicted:
        """Predict as it is used afterwards."""
        with out_of_memory(work.batch):
            return _predicted(*self._losses(work))

    def total(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up over all processes."""
        if not self.fabric:
            return numbers
        summed = self.fabric.all_reduce(torch.from_numpy(numbers).to(self.device), reduce_op="sum")
        result: NDArray[np.float64] = summed.cpu().numpy()
        return result

    def state(self) -> Mapping[str, Array]:
        """AdamW's means under canonical names."""
        states = self.adamw.state
        if not any(states.get(p) for p in self.trained.values()):
            return {}
        encoder = self.backbone.module
        views = {
            kind: encoder.canonical({n: states[p][key] for n, p in self.trained.items()})
            for kind, key in MOMENTS.items()
        }
        names = [f"{kind}.{name}" for kind, view in views.items() for name in view]
        return LazyWeights(names, lambda n: views[n.partition(".")[0]][n.partition(".")[2]])

    def restore(self, state: Mapping[str, Array], steps: int) -> None:
        """Give AdamW its means back."""
        if not state:
            return
        encoder = self.backbone.module
        for name, parameter in self.trained.items():
            found: dict[str, Any] = {"step": torch.tensor(float(steps))}
            for kind, key in MOMENTS.items():
                array = encoder.assembled(name, _reader(state, kind))
                found[key] = torch.from_numpy(np.array(array, np.float32)).to(self.device)
            self.adamw.state[parameter] = found

    @contextmanager
    def _training(self) -> Iterator[None]:
        """With dropout; at all other times the backbone is one in evaluation mode."""
        self.objective.train()
        try:
            yield
        finally:
            self.objective.eval()

    def _losses(self, work: Work) -> tuple[Tensor, Tensor]:
        ids = torch.from_numpy(work.batch.ids).to(self.device, torch.int64)
        targets = {
            name: torch.from_numpy(getattr(work, name)).to(self.device)
            for name in ("places", "sequences", "tail", "labels")
        }
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            logits = self.objective(ids, Packing(work.batch, self.device), targets)
        losses = functional.cross_entropy(logits, targets["labels"], reduction="none")
        return losses, logits.argmax(-1) == targets["labels"]


def process() -> tuple[int, int]:
    """What torchrun says."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def local_device(device: str) -> str:
    """Of several processes on one machine each has a GPU of its own."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device


@contextmanager
def _flushed() -> Iterator[None]:
    """Take numbers below 1e-38 for 0, in this thread and those that it begins.

    Sharp attention has gradients that small, with which processors are slow:
    docs/benchmarks/denormals.py.
    """
    kept = bool(torch.full((1,), 1e-37).mul(0.01).item())  # torch does not tell
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        if kept:
            torch.set_flush_denormal(False)


def _fabric(device: torch.device) -> Any:
    """Join the other processes, where torchrun has started several."""
    world = process()[1]
    if world == 1:
        return None
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise BackendError(
            "Several processes of PyTorch need lightning-fabric, which is not installed.\n"
            'Install it: pip install "riboswitch[distributed]"'
        ) from error
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    kind = {"cuda": "cuda", "mps": "mps"}.get(device.type, "cpu")
    fabric = Fabric(accelerator=kind, devices=local, num_nodes=world // local, strategy="ddp")
    fabric.launch()
    return fabric


def _trained(encoder: Encoder) -> dict[str, nn.Parameter]:
    """All but the pooler, which nothing that is predicted goes through."""
    found = {}
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(not name.startswith("pooler."))
        if parameter.requires_grad:
            found[name] = parameter
    return found


def _adamw(trained: Mapping[str, nn.Parameter], o: Optimization) -> torch.optim.AdamW:
    matrices = [p for p in trained.values() if p.ndim >= 2]
    others = [p for p in trained.values() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": o.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=o.peak, betas=(o.beta1, o.beta2), eps=o.eps)


def _reader(state: Mapping[str, Array], kind: str) -> Callable[[str], Array]:
    return lambda name: state[f"{kind}.{name}"]


def _predicted(losses: Tensor, hits: Tensor) -> Predicted:
    return Predicted(losses.detach().cpu().double().numpy(), hits.cpu().numpy())
