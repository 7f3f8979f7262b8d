"""Embed a file: plan, run what is missing, commit. Started again, it goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from riboswitch._version import __version__
from riboswitch.alphabet import Alphabet
from riboswitch.errors import RecordsFailedError, StoreError, UsageError
from riboswitch.jobs.commit import commit, failures_path, need_pyarrow, put_failures
from riboswitch.jobs.files import LEFTOVERS, remove_folder, remove_result
from riboswitch.jobs.plan import CHUNK_RESIDUES, Chunk, Plan, Settings, fingerprint, plan, survey
from riboswitch.jobs.pool import run_in_processes
from riboswitch.jobs.work import find_receipt, run_chunk
from riboswitch.limits import check_embed
from riboswitch.loading import load
from riboswitch.model import Model
from riboswitch.progress import Progress
from riboswitch.store import check_whole, read_manifest
from riboswitch.weights import weights_hash


@frozen(kw_only=True)
class Request:
    """What the user asked for; the arguments of `load` and of `Model.embed`."""

    source: str
    output: Path = field(converter=Path)
    load: Mapping[str, Any]
    pool: str | None = None
    layer: int = -1
    window: int | None = None
    prompt: str | None = None
    chunk_residues: int = CHUNK_RESIDUES
    workers: int = 1
    strict: bool = False
    overwrite: bool = False

    @property
    def work(self) -> Path:
        """The work folder: inside a store, beside a file."""
        if self.pool is None:
            return self.output / ".work"
        return self.output.with_name(f"{self.output.name}.work")

    @property
    def target(self) -> Path:
        """The folder of the chunks."""
        return self.output if self.pool is None else self.work


@frozen(kw_only=True)
class Result:
    """What was done."""

    plan: Plan
    manifest: Mapping[str, Any]
    failures: Path | None
    seconds: float
    computed_residues: int
    alphabet: Alphabet


def embed_file(request: Request, progress: Progress | None = None) -> Result:
    """Embed every record of a file.

    Raises:
        UsageError: The arguments cannot be right, or the output belongs to another job.
        SequenceError: The input cannot be read.
        RecordsFailedError: No record, or with `strict` not every record, can be embedded.
        ResourceError: Memory or disk ran out; started again, it goes on.
    """
    start = time.perf_counter()
    check_output(request)
    model = load(**request.load)
    settings = make_settings(request, model)
    try:
        found, manifest, computed = _run(request, model, settings, progress)
    except (StoreError, OSError):
        # Another process may have finished the same job under us; a stream cannot be read again.
        if request.overwrite or read_manifest(request.output) is None or _is_stream(request.source):
            raise
        found, manifest, computed = _run(request, model, settings, progress)
    return Result(
        plan=found,
        manifest=manifest,
        failures=failures_path(found, request.output) if found.failed else None,
        seconds=time.perf_counter() - start,
        computed_residues=computed,
        alphabet=model.alphabet,
    )


def check_output(request: Request) -> None:
    """Raise `UsageError` for an output that the result cannot be written to."""
    output, suffix = request.output, request.output.suffix
    if str(output) == "-":
        raise UsageError("The result cannot go to stdout.\nGive the name of a file or folder.")
    if request.pool is None and suffix in (".npz", ".parquet", ".npy"):
        raise UsageError(
            f"Per-residue embeddings go into a folder, not into one {suffix} file.\n"
            f"Give a folder, or --pool mean for one vector of each sequence."
        )
    if request.pool is not None and suffix not in (".npz", ".parquet", ""):
        raise UsageError(f"Pooled embeddings go into .npz or .parquet, not {suffix}.")
    if suffix == ".parquet":
        need_pyarrow()
    if not output.absolute().parent.is_dir():
        raise UsageError(f"{output.absolute().parent} is no folder.\nMake it first.")
    if request.pool is not None and output.is_dir():
        raise UsageError(f"{output} is a folder; pooled embeddings go into a file.")
    if request.workers < 1 or request.chunk_residues < 1:
        raise UsageError("The numbers of workers and of residues in a chunk must be positive.")
    if request.source != "-":
        fingerprint(request.source)


def make_settings(request: Request, model: Model) -> Settings:
    """Write down what decides the numbers."""
    check_embed(
        model.entry,
        pool=request.pool,
        layer=request.layer,
        window=request.window,
        prompt=request.prompt is not None,
    )
    model.alphabet.encode([], prompt=request.prompt)  # an unknown prompt is an error now
    weights = request.load.get("weights", "released")
    kind = weights if weights in ("released", "random") else "file"
    return Settings(
        model=model.entry.name,
        backend=model.backend.name,
        framework=model.backend.version,
        device=model.device.partition(":")[0],
        dtype=model.dtype,
        weights=f"random, seed {request.load.get('seed', 0)}" if kind == "random" else kind,
        weights_sha256=weights_hash(model.weights),
        architecture=attrs.asdict(model.architecture),
        licence=model.entry.licence,
        pool=request.pool,
        layer=request.layer % (model.architecture.num_layers + 1),
        window=request.window,
        prompt=request.prompt,
        chunk_residues=request.chunk_residues,
        riboswitch=__version__,
    )


def _run(
    request: Request, model: Model, settings: Settings, progress: Progress | None
) -> tuple[Plan, Mapping[str, Any], int]:
    if done := _finished(request, settings, model):
        remove_folder(request.work)
        return *done, 0
    found = _resumed(request, settings, model) or _planned(request, settings, model)
    pending = [c for c in found.chunks if not find_receipt(found, c, request.work, request.target)]
    residues = sum(c.residues for c in pending)
    computed = found.residues - residues
    report = progress or (lambda *_: None)
    report(computed, found.residues)
    for chunk in _compute(request, model, found, pending):
        computed += chunk.residues
        report(computed, found.residues)
    return found, commit(found, request.work, request.target, request.output), residues


def _compute(request: Request, model: Model, found: Plan, pending: list[Chunk]) -> Iterator[Chunk]:
    if request.workers > 1 and len(pending) > 1:
        folders = (request.work, request.target)
        yield from run_in_processes(request.load, folders, pending, request.workers)
        return
    for chunk in pending:
        run_chunk(model, found, chunk, request.work, request.target)
        yield chunk


def _planned(request: Request, settings: Settings, model: Model) -> Plan:
    """Plan anew. What was there before goes only when the new plan stands."""
    _check_the_way(request)
    try:
        found = plan(request.source, settings, model.entry, request.work)
    except BaseException:
        with suppress(OSError):  # a store's folder, unless it holds something
            request.target.rmdir()
        raise
    if found.failed and (request.strict or not found.records):
        _refuse(request, found)
    other = Plan.read(request.work)  # of a process that began the same job just now
    if request.overwrite or other is None or other.identity != found.identity:
        remove_result(request.output)
    found.save(request.work)
    return found


def _refuse(request: Request, found: Plan) -> None:
    total = found.failed + found.records
    rows = found.failures_file(request.work).read_text("utf-8").splitlines()
    reason = rows[1].split("\t")
    listed = f"The earlier result in {request.output} was left as it is."
    if read_manifest(request.output) is None:  # else the list there is an earlier result's
        put_failures(found, request.work, request.output)
        listed = f"All are listed in {failures_path(found, request.output)}"
    found.discard(request.work)
    raise RecordsFailedError(
        f"{found.failed} of {total} records cannot be embedded. The first, number {reason[0]} "
        f"({reason[1]}): {reason[2]}\n{listed}"
    )


def _resumed(request: Request, settings: Settings, model: Model) -> Plan | None:
    """The plan of an unfinished job, when it is the same job."""
    found = Plan.read(request.work)
    if found is None:
        return None
    anew = request.overwrite and _is_stream(request.source)
    if found.settings == settings and not anew and _same_records(request, settings, model, found):
        return found
    if not request.overwrite:
        raise UsageError(
            f"{request.output} is an unfinished job with {_difference(found.settings, settings)}.\n"
            "Give its own settings to go on with it, or --overwrite to begin anew."
        )
    return None


def _same_records(request: Request, settings: Settings, model: Model, found: Plan) -> bool:
    """Whether the input is the planned one; it is read again where that is not plain to see."""
    if not _is_stream(request.source) and found.source == fingerprint(request.source):
        return True
    return survey(request.source, settings, model.entry).records_sha256 == found.records_sha256


def _is_stream(source: str) -> bool:
    """Whether the input can be read only once: stdin or a pipe."""
    return source == "-" or not Path(source).is_file()


def _difference(old: Settings, new: Settings) -> str:
    for name, value in attrs.asdict(old).items():
        if value != getattr(new, name):
            return f"{name} {value!r}, not {getattr(new, name)!r}"
    return "other input"


def _finished(
    request: Request, settings: Settings, model: Model
) -> tuple[Plan, Mapping[str, Any]] | None:
    """The manifest of a finished result, when it is this job's."""
    manifest = read_manifest(request.output)
    if manifest is None or request.overwrite:
        return None
    wanted = attrs.asdict(settings)
    if all(manifest.get(name) == value for name, value in wanted.items()):
        found = survey(request.source, settings, model.entry)
        if found.records_sha256 == manifest.get("records_sha256"):
            check_whole(request.output, manifest)
            return found, manifest
    raise UsageError(
        f"{request.output} exists and is another job's result.\n"
        "Choose another name, or give --overwrite."
    )


def _check_the_way(request: Request) -> None:
    """Raise `UsageError` when something is there that is not ours, or may not be replaced."""
    output = request.output
    ours = read_manifest(output) is not None or Plan.read(request.work) is not None
    if output.exists() and not (ours and request.overwrite) and not _empty(output):
        raise UsageError(f"{output} exists.\nChoose another name, or give --overwrite.")


def _empty(output: Path) -> bool:
    """Whether a folder has nothing but what a refused, begun or half-removed job leaves."""
    return output.is_dir() and all(LEFTOVERS.fullmatch(p.name) for p in output.iterdir())
