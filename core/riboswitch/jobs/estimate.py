"""What a job would take, said before it is begun."""

from __future__ import annotations

import time

import numpy as np
from attrs import frozen

from riboswitch.cores import num_cores
from riboswitch.jobs.embed import Request, check_output, make_settings
from riboswitch.jobs.plan import Plan, survey
from riboswitch.loading import load
from riboswitch.model import Model


@frozen(kw_only=True)
class Estimate:
    """Sizes in bytes, time in seconds; `padding` is the share of computed tokens."""

    version: int = 1
    records: int
    failed: int
    residues: int
    tokens: int
    padding: float
    chunks: int
    memory: int
    disk: int
    seconds: float
    residues_per_second: float

    def text(self) -> str:
        """Some lines for people."""
        return (
            f"records   {self.records} to embed, {self.failed} that cannot be\n"
            f"residues  {self.residues} in {self.chunks} chunks\n"
            f"tokens    {self.tokens}, {self.padding:.1%} padding\n"
            f"memory    about {_bytes(self.memory)}\n"
            f"disk      about {_bytes(self.disk)}\n"
            f"time      about {_time(self.seconds)} at {self.residues_per_second:.0f} residues/s"
        )


def estimate(request: Request) -> Estimate:
    """Read and check the input and time the model on made-up sequences; writes nothing.

    Raises:
        UsageError: The arguments cannot be right.
        SequenceError: The input cannot be read.
    """
    check_output(request)
    model = load(**request.load)
    found = survey(request.source, make_settings(request, model), model.entry)
    seconds = _seconds(model, request, found)
    rows = found.records if request.pool else found.residues
    return Estimate(
        records=found.records,
        failed=found.failed,
        residues=found.residues,
        tokens=found.tokens,
        padding=0.0,  # runs of equal length share a kernel call, so nothing is padded
        chunks=len(found.chunks),
        memory=_memory(model, request, found),
        disk=rows * 4 * model.architecture.hidden_size * (2 if request.pool else 1),
        seconds=seconds,
        residues_per_second=found.residues / max(seconds, 1e-9),
    )


def _seconds(model: Model, request: Request, found: Plan) -> float:
    """A token costs a + b * T in a sequence of T tokens: two lengths tell a and b."""
    long = max(2, min(1000, (model.architecture.max_tokens or 1004) - 4))
    short = max(1, min(100, long // 2))
    costs = [_cost(model, request, length) for length in (short, long)]
    slope = max(0.0, (costs[1] - costs[0]) / (long - short))
    return max(costs[0] - slope * short, 0.0) * found.tokens + slope * found.squares


def _cost(model: Model, request: Request, length: int) -> float:
    """Seconds for a token in batches like the job's, after one sequence to warm up."""
    batches = num_cores() if model.device == "cpu" else 1
    letters = length * model.alphabet.stride
    sequence = "".join(np.random.default_rng(0).choice(list("ACGU"), letters))
    sequences = [sequence] * (batches * max(1, model.batch_tokens // length))
    model.embed_exactly(sequences[:1])
    start = time.perf_counter()
    model.embed_exactly(sequences, pool=request.pool, layer=request.layer)
    return (time.perf_counter() - start) / (length * len(sequences))


def _memory(model: Model, request: Request, found: Plan) -> int:
    """The weights in each process, the activations of the batches at work, a chunk of output."""
    a = model.architecture
    size = {"float64": 8, "float32": 4}.get(model.dtype, 2)
    budget = max(model.batch_tokens, found.longest)
    widths = 8 * a.hidden_size + 3 * a.feed_forward_size
    kept = (a.num_layers + 1) * a.hidden_size if request.layer != -1 else 0
    batches = num_cores() if model.device == "cpu" else 1
    chunk = 2 * 4 * a.hidden_size * (request.chunk_residues + budget)
    processes = request.workers + (request.workers > 1)  # the first one holds the model, too
    weights = a.num_parameters() * size + chunk + (100 << 20)
    scores = 2 * size * found.longest**2  # of the longest sequence, one head at a time
    return processes * weights + batches * budget * size * (widths + kept) + scores


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
