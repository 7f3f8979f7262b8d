"""The contract between the core and what plugs into it, in one place.

What stands here is not repeated on the implementations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import numpy as np
from attrs import Attribute, field, frozen
from attrs.validators import (
    deep_iterable,
    ge,
    instance_of,
    is_callable,
    matches_re,
    optional,
)
from numpy.typing import NDArray

from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.batch import TokenBatch
from riboswitch.optimization import Pretraining
from riboswitch.origins import Released

Array = NDArray[Any]
"""A NumPy array of any dtype."""

Weights = Mapping[str, Array]
"""Canonical weights, by the names and in the shapes of `Architecture.parameter_shapes()`, in any
float dtype and order in memory.

A writeable array is the reader's to keep, but not to change in place: who reads it again may get
the same memory. A read-only one is a view of a file that may change: what is to last must be a
copy. `riboswitch.weights.owned` returns what lasts in either case.
"""

OUTPUTS = ("representation", "logits", "hidden_states", "attentions", "pooled")
DTYPES = ("float32", "bfloat16", "float16", "float64")


@runtime_checkable
class Backbone(Protocol):
    """An encoder with its weights, in evaluation mode, on one device."""

    @property
    def module(self) -> Any:
        """The native object, such as a `torch.nn.Module` or a `paddle.nn.Layer`.

        It holds the parameters themselves: users train it, and `forward` and `canonical` go by
        what it has at that moment.
        """

    def forward(self, batch: TokenBatch, outputs: Sequence[str]) -> dict[str, list[Array]]:
        """Run the encoder.

        What a sequence gets never depends on its neighbours beyond rounding. Safe to call
        from several threads at once. Nothing need be checked here: those who call it have seen
        that there is at least one sequence, that each has a token and at most
        `Architecture.max_tokens`, that ids are in the vocabulary and that the architecture has
        the outputs.

        Args:
            batch: Packed tokens, sequences in any order; it stays as it is.
            outputs: Names out of `OUTPUTS`; nothing else need be computed. `attentions` are
                there for those who look into a model: bulk jobs never ask for them.

        Returns:
            For each name one array a sequence, in the batch's order, which the caller keeps,
            special tokens included, float64 where the encoder computes in float64 and float32
            elsewhere: representation (T, D); logits (T, V); hidden_states (N + 1, T, D), the
            first one the embedding, the last one the representation; attentions (N, H, T, T),
            each row of which adds up to 1; pooled (D).

        Raises:
            MemoryError: Memory ran out, the device's too, whatever the framework raises. It
                reaches who called `Model`; a bulk job makes a `ResourceError` of it, which says
                what to do, keeps what it has and can be started again.
        """

    def canonical(self) -> Weights:
        """Return the canonical weights as they stand now, each made when asked for.

        float64 where the encoder computes in float64, float32 elsewhere; read-only where they
        share the encoder's memory.
        """


@runtime_checkable
class Backend(Protocol):
    """One encoder that interprets any `Architecture`."""

    @property
    def name(self) -> str:
        """As in `load(…, backend=name)`."""

    @property
    def version(self) -> str:
        """The framework and its version, for manifests."""

    def devices(self) -> tuple[str, ...]:
        """Devices that this machine has, the one for `auto` first.

        `"cpu"` is the CPU's name in every backend: there a `Model` gives batches of about 1024
        tokens to as many threads as there are cores, inside `single_thread`. On any other device
        it gives one batch of up to 32768 tokens after the other. Call those as the framework
        does, `cuda` or `gpu`, and one of several `cuda:1`: manifests leave out the number.
        """

    def dtypes(self, device: str) -> tuple[str, ...]:
        """Dtypes that the encoder computes in on that device, the one for `auto` first."""

    def build(
        self, architecture: Architecture, weights: Weights, *, device: str, dtype: str
    ) -> Backbone:
        """Make a backbone of canonical weights, each read once and not kept if copied.

        What reading a weight raises passes through.

        Args:
            architecture: One that `BackendEntry.refuses` lets pass.
            weights: All that it has; names and shapes have been checked.
            device: One of `devices()`, never `auto`.
            dtype: One of `dtypes(device)`, never `auto`.
        """

    def single_thread(self) -> AbstractContextManager[None]:
        """While entered, one call computes on one core, so that several can run side by side.

        Results must then not depend on how many run at once. It nests, and several threads may
        be inside. A framework that cannot be told may do nothing, if its results keep to that:
        calls then share the cores as they come.
        """


class Head(Protocol):
    """Maps a backbone's representation to a task's raw output."""

    def __call__(self, representation: Any, batch: TokenBatch) -> Any:
        """Native tensors in, native tensors out."""


class Task(Protocol):
    """What to predict: examples in, a loss and metrics out, free of any framework."""

    @property
    def name(self) -> str:
        """As in `load_task(name)`."""


def _name() -> Any:
    """A name that a command line, a table and a file can hold."""
    return field(validator=[instance_of(str), matches_re(r"[A-Za-z0-9][A-Za-z0-9._+-]*")])


def _text() -> Any:
    return field(validator=instance_of(str))


_sizes = deep_iterable([instance_of(int), ge(0)], instance_of(tuple))


def _block(_: object, __: Attribute[Any], part: Any) -> None:
    if not (isinstance(part, tuple) and len(part) == 2 and 0 <= part[0] < part[1]):
        raise ValueError(f"part is {part!r}, and must be (k, n) with k from 0 to below n")


def _patterns(_: object, attribute: Attribute[Any], patterns: Any) -> None:
    """One text for a tuple would match nearly every name, by its letters."""
    if not isinstance(patterns, tuple):
        raise TypeError(f"{attribute.name} is {patterns!r}, and must be a tuple of patterns")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{attribute.name} has {pattern!r}: {error}") from error


def _pairs(_: object, attribute: Attribute[Any], pairs: Any) -> None:
    if not isinstance(pairs, tuple) or not all(isinstance(p, tuple) and len(p) == 2 for p in pairs):
        raise TypeError(f"{attribute.name} is {pairs!r}, and must be a tuple of pairs of names")


def _takes_all(architecture: Architecture) -> None:
    """Refuse nothing."""


@frozen(kw_only=True)
class BackendEntry:
    """A backend as a plugin announces it, before its framework is imported.

    Attributes:
        name: As in `load(…, backend=name)`.
        requires: Packages that must be there. They are looked for and not imported, so that of
            `jax.numpy` only `jax` is looked for.
        install: The command that brings them, for the error when one is missing and for
            `riboswitch doctor`.
        load: Imports the framework and returns the `Backend`.
        priority: `auto` takes the highest one that is installed and can compute the model:
            `torch` has 30, `paddle` 20, `numpy`, which is always there, 10, and `paddlenlp` -10.
            So the default, 0, is for a backend that is taken by name alone.
        trains: Whether its `Backend` is a `riboswitch.training.learner.TrainingBackend`.
        refuses: Why the backend cannot compute an architecture, a clause in a few words that
            ends a sentence ("it has no rotary positions"); None when it can. Asked before the
            framework is imported and before any number is read.
    """

    name: str = _name()
    requires: tuple[str, ...] = field(validator=deep_iterable(instance_of(str), instance_of(tuple)))
    install: str = _text()
    load: Callable[[], Backend] = field(validator=is_callable())
    priority: int = field(default=0, validator=instance_of(int))
    trains: bool = field(default=False, validator=instance_of(bool))
    refuses: Callable[[Architecture], str | None] = field(
        default=_takes_all, validator=is_callable()
    )


@frozen(kw_only=True)
class ModelEntry:
    """A model as data.

    Attributes:
        name: As in `load(name)`.
        family: Models that share layouts and alphabet.
        architecture: Of the released weights.
        alphabet: Of the released weights.
        licence: Of the released weights.
        source: Paper or repository.
        released: Where the weights are; None where nobody released any.
        pretraining: How its authors trained it, as far as they say.
    """

    name: str = _name()
    family: str = _name()
    architecture: Architecture = field(validator=instance_of(Architecture))
    alphabet: Alphabet = field(validator=instance_of(Alphabet))
    licence: str = _text()
    source: str = _text()
    released: Released | None = field(default=None, validator=optional(instance_of(Released)))
    pretraining: Pretraining = field(factory=Pretraining, validator=instance_of(Pretraining))

    def __attrs_post_init__(self) -> None:
        if self.architecture.vocab_size != len(self.alphabet):
            raise ValueError(
                f"the model {self.name!r} has {self.architecture.vocab_size} embeddings for an "
                f"alphabet of {len(self.alphabet)} tokens"
            )


class Tensor(Protocol):
    """A named array of a checkpoint that is read when asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of its axes."""

    @property
    def dtype(self) -> str:
        """NumPy's name of its dtype, or `bfloat16`."""

    def read(self) -> Array:
        """Return the numbers; bfloat16 comes as float32."""


def _nothing() -> None:
    pass


@frozen(kw_only=True)
class Checkpoint:
    """What stands in a checkpoint's files, before anyone knows whose it is.

    Attributes:
        path: The file or folder asked for.
        container: How it is stored: `torch`, `torch-legacy`, `paddle`, `safetensors`.
        tensors: By the file's own names.
        config: What the files say about the architecture.
        vocabulary: Tokens in the order of their ids, where a file lists them.
        seal: What `Draft.seal` was when the file was written; None where nobody put one there.
        release: Lets the memory of what has been read go. Arrays that were handed out stay
            valid: their pages come back when they are used.
    """

    path: str
    container: str
    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any] = field(factory=dict)
    vocabulary: tuple[str, ...] | None = None
    seal: str | None = None
    release: Callable[[], None] = field(default=_nothing, repr=False)


@frozen(kw_only=True)
class Rule:
    """One canonical weight and where a layout keeps it.

    Attributes:
        canonical: A name of `Architecture.parameter_shapes()`; `{i}` is the layer.
        file: The layout's name.
        part: (k, n) for the k-th of n equal blocks of rows; None for all of it.
        transpose: Whether the file has [in, out].
        zero_row: A row that the model's own loader sets to zero.
        shape: The file's shape, where it has other axes than the canonical one: (1,) for ();
            not together with `part` or `transpose`.
    """

    canonical: str = _text()
    file: str = _text()
    part: tuple[int, int] | None = field(default=None, validator=optional(_block))
    transpose: bool = field(default=False, validator=instance_of(bool))
    zero_row: int | None = field(default=None, validator=optional([instance_of(int), ge(0)]))
    shape: tuple[int, ...] | None = field(default=None, validator=optional(_sizes))


@frozen(kw_only=True)
class Description:
    """What a checkpoint says of its model.

    Attributes:
        family: `ModelEntry.family`.
        changes: All of the architecture that the file tells, at least `hidden_size` and
            `num_layers`; what it does not say is taken from the registered model.
        alphabet: When it differs from the entry's.
        licence: Of these weights, when it differs from the entry's.
        model: `ModelEntry.name`, where the checkpoint says it.
    """

    family: str = _name()
    changes: Mapping[str, Any] = field()
    alphabet: Alphabet | None = None
    licence: str | None = None
    model: str | None = None

    @changes.validator
    def _has_sizes(self, _: Any, changes: Mapping[str, Any]) -> None:
        if lacking := {"hidden_size", "num_layers"} - {*changes}:
            raise ValueError(f"changes do not tell {', '.join(sorted(lacking))}")


@frozen(kw_only=True)
class Form:
    """How a layout writes one model.

    Attributes:
        container: As in `Checkpoint`: `torch`, `paddle`, `safetensors`.
        file: Name of the tensors' file in a folder; None where the layout is that one file.
        rename: From a plain name to the one in the file, the inverse of `Layout.plain`.
        config: What stands beside the tensors in their file; only the container `torch` can.
        texts: The folder's other files, by name; only where there is a `file`.
        copies: Plain names of copies of a weight that the file has as well: the first ones of
            pairs in `Layout.copies`.
        constants: Further tensors that the layout's own loader wants, by plain name; their
            names must match `Layout.derived`, or they would not be read back.

    Our own opener finds `file` when it is called `model.safetensors`, `model_state.pdparams` or
    `pytorch_model.bin`, and reads `riboswitch.json`, `config.json` or `model_config.json` and a
    `vocab.txt` beside it; for other names a plugin brings an opener of its own.
    """

    container: str
    file: str | None = None
    rename: Callable[[str], str] = str
    config: Mapping[str, Any] | None = None
    texts: Mapping[str, str] = field(factory=dict)
    copies: tuple[str, ...] = ()
    constants: Mapping[str, Array] = field(factory=dict)


@frozen(kw_only=True)
class Draft:
    """A file of tensors that is to be written.

    Attributes:
        container: As in `Checkpoint`.
        tensors: By the file's own names, in the file's order, each read once; what stands
            under two names may be stored once. Their dtypes are those of `Tensor.dtype`; a
            container refuses those that it lacks with a `CheckpointError`.
        config: As in `Form`.
        seal: A hash of the architecture and alphabet, for containers that can keep a text: so
            the tensors notice when the files that describe them are damaged or another's.
    """

    container: str
    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any] | None = None
    seal: str | None = None


def _itself(entry: ModelEntry) -> ModelEntry:
    return entry


@frozen(kw_only=True)
class Layout:
    """A checkpoint layout as data: which names stand for which canonical weights.

    Attributes:
        name: As in `convert(…, to=name)`.
        plain: Strips what varies (a prefix) from a file's tensor name.
        describe: Recognises a checkpoint by its content; None when it is another layout's.
            Gets the checkpoint with plain names.
        rules: All weights of an architecture, in the order of the file; those that it lacks may
            stand there too. When a file is written the checkpoint is a blank one, without
            tensors and config.
        ignored: Regular expressions of plain names that hold weights of no encoder: heads.
        derived: Regular expressions of plain names that hold nothing of their own: copies of
            a weight, counters, the frequencies of rotary positions.
        copies: Pairs of plain names, copy and original, that hold the same numbers in any file
            that has both; a file in which they differ is another architecture's.
        target: The model as this layout can hold it: with the layout's alphabet (and then its
            `vocab_size` and `mask_id`), without what it has no place for. Raises
            `CheckpointError` for a family that it does not know.
        form: How it writes such a model; None for a layout that is only read.
    """

    name: str = _name()
    plain: Callable[[str], str] = field(validator=is_callable())
    describe: Callable[[Checkpoint], Description | None] = field(validator=is_callable())
    rules: Callable[[Architecture, Checkpoint], Iterable[Rule]] = field(validator=is_callable())
    ignored: tuple[str, ...] = field(default=(), validator=_patterns)
    derived: tuple[str, ...] = field(default=(), validator=_patterns)
    copies: tuple[tuple[str, str], ...] = field(default=(), validator=_pairs)
    target: Callable[[ModelEntry], ModelEntry] = field(default=_itself, validator=is_callable())
    form: Callable[[ModelEntry], Form] | None = field(
        default=None, validator=optional(is_callable())
    )


def float_dtype(dtype: str) -> type[Any]:
    """Return the NumPy type in which results of an encoder of that dtype are handed out."""
    return np.float64 if dtype == "float64" else np.float32
