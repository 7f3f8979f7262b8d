"""`ContainerContract`: what everyone keeps to who opens or writes a kind of file."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import getattr_static
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from riboswitch.errors import CheckpointError
from riboswitch.interfaces import Array, Draft, Tensor
from riboswitch.registry import registry
from riboswitch.testing.container_read import Files
from riboswitch.testing.container_spy import Spied, alive_at_once
from riboswitch.testing.examples import Example, make
from riboswitch.testing.openers import Held, draft_of, functions, writes

DTYPES = (
    *("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8"),
    *("uint8", "uint16", "uint32", "uint64", "bool", "complex64"),
)
NAMES = (
    *("", " ", "a b", ".", "..", "../a", "/a", "a/b", "a\\b", "a.b.c", "A" * 300, "0", "'\"", "%s"),
    *("é", "\N{RIBBON}", "\N{COMBINING ACUTE ACCENT}", "\u202ea", "a\nb", "a\tb", "__metadata__"),
    *("model", "state_dict", "args", "module.a", "data.pkl", "StructuredToParameterName@@"),
)
SEAL = "5ea1" * 16
AT_ONCE = 2
"""Tensors that may be in memory at once: one that was written, and the next one."""


class ContainerContract(Files):
    """The contract of a kind of file that is written as well as opened:

        class TestMine(ContainerContract):
            container = "mine"

    Attributes:
        container: Its name, as in `Checkpoint.container` and `Draft.container`.
        suffix: Of such files' names, where the opener asks for it.
        dtypes: What it can hold, as in `Tensor.dtype`; anything else is to be an error.
        checksums: Whether it notices when a byte of the numbers is another one.
        keeps_seal: Whether `Draft.seal` comes back as `Checkpoint.seal`.
        keeps_config: Whether `Draft.config` comes back as `Checkpoint.config`.
    """  # noqa: D415  # an example follows

    dtypes: ClassVar[tuple[str, ...]] = ("float64", "float32", "float16", "bfloat16")
    keeps_seal: ClassVar[bool] = False
    keeps_config: ClassVar[bool] = False

    def write(self, path: Path, tensors: Mapping[str, Tensor], **more: Any) -> Path:
        """Write a file as the core does."""
        draft = Draft(container=self.container, tensors=tensors, **more)
        registry().write_checkpoint(path, draft)
        return path

    def file(self, folder: Path) -> Path:
        """A small file of three tensors of different kinds."""
        path = folder / f"a small file{self.suffix}"
        return path if path.exists() else self.write(path, _tensors("float32"))

    def another(self, folder: Path) -> bytes:
        """A sound file with the same names and other numbers."""
        tensors = {n: _held(np.ones_like(t.read())) for n, t in _tensors("float32").items()}
        return self.write(folder / f"another{self.suffix}", tensors).read_bytes()

    def large(self, folder: Path) -> Path:
        """A file of 8 MB."""
        numbers = np.ones((1 << 21,), "f4")
        return self.write(folder / f"large{self.suffix}", {"a": _held(numbers)})

    def test_it_is_written_and_opened(self, tmp_path: Path) -> None:
        """By a plugin, at that path alone, under its own name; by one hook of each kind."""
        path = self.write(tmp_path / f"some file, é{self.suffix}", _tensors("float32"))
        assert [p.name for p in tmp_path.iterdir()] == [path.name]
        found = registry().open_checkpoint(path)
        assert (found.container, found.path) == (self.container, str(path))

    def test_float32_is_among_its_dtypes(self) -> None:
        """Every model can be in it; and what is declared exists."""
        assert "float32" in self.dtypes
        assert set(self.dtypes) <= {*DTYPES}

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_a_dtype_comes_back_bit_for_bit_or_is_refused(self, tmp_path: Path, dtype: str) -> None:
        """Names in order, shapes, dtypes, numbers; what is not declared is a `CheckpointError`."""
        path, tensors = tmp_path / f"file{self.suffix}", _tensors(dtype)
        if dtype not in self.dtypes:
            with pytest.raises(CheckpointError, match=dtype) as caught:
                self.write(path, tensors)
            assert "fails to write" not in str(caught.value), "the plugin does not say it itself"
            return
        found = self.opener(path=self.write(path, tensors))
        assert found is not None
        assert list(found.tensors) == list(tensors)
        for name, tensor in tensors.items():
            _same(found.tensors[name], tensor, name)

    @pytest.mark.parametrize("name", NAMES, ids=ascii)
    def test_a_name_comes_back_or_is_refused(self, tmp_path: Path, name: str) -> None:
        """Never another name, and never another tensor's numbers."""
        tensors: dict[str, Tensor] = {"a.weight": _held(np.ones(3, "f4"))}
        tensors[name] = _held(np.arange(4, dtype="f4"))
        try:
            found = self.opener(path=self.write(tmp_path / f"file{self.suffix}", tensors))
            assert found is not None
            read = {n: t.read().tolist() for n, t in found.tensors.items()}
        except CheckpointError:
            return
        assert read == {n: t.read().tolist() for n, t in tensors.items()}

    def test_names_of_models_are_never_refused(self, tmp_path: Path) -> None:
        """Those of weights, long ones and those of other alphabets."""
        names = ["layers.0.attention.query.weight", "beta", "x" * 200, "Schicht.0", "层.0"]
        path = tmp_path / f"file{self.suffix}"
        found = self.opener(path=self.write(path, {n: _held(np.ones(2, "f4")) for n in names}))
        assert found is not None
        assert list(found.tensors) == names

    def test_each_tensor_is_read_once_and_let_go(self, tmp_path: Path) -> None:
        """Memory is that of one tensor, not of the file."""
        spied = {f"layers.{i}": Spied() for i in range(9)}
        with alive_at_once(spied.values()) as most:
            self.write(tmp_path / f"file{self.suffix}", {**spied})
        assert [each.reads for each in spied.values()] == [1] * 9
        assert most() <= AT_ONCE, f"{most()} tensors were kept at once"

    def test_one_tensor_under_two_names(self, tmp_path: Path) -> None:
        """It comes back under both, stored once or twice."""
        shared = Spied()
        path = self.write(tmp_path / f"file{self.suffix}", {"a": shared, "b": shared})
        found = self.opener(path=path)
        assert found is not None
        assert list(found.tensors) == ["a", "b"]
        assert all(np.array_equal(t.read(), shared.numbers()) for t in found.tensors.values())
        assert shared.reads <= 2

    @pytest.mark.parametrize("error", [CheckpointError, MemoryError, KeyboardInterrupt])
    def test_the_error_of_a_tensor_passes_through(
        self, tmp_path: Path, error: type[BaseException]
    ) -> None:
        """A damaged source, too little memory, a user who has had enough."""
        tensors: dict[str, Tensor] = {"a": Spied(), "b": Spied(error("of the tensor"))}
        with pytest.raises(error, match="of the tensor"):
            self.write(tmp_path / f"file{self.suffix}", tensors)

    def test_other_containers_are_left_to_others(self, tmp_path: Path) -> None:
        """A draft for a container of nobody's is not written."""
        for writer in functions("riboswitch_write_checkpoint"):
            if writes(writer, tmp_path / "own", self.container):
                assert not writer(path=tmp_path / "new", draft=draft_of("of nobody"))
        (tmp_path / "own").unlink()
        assert list(tmp_path.iterdir()) == []

    def test_a_seal_is_kept_where_that_is_declared(self, tmp_path: Path) -> None:
        """`Checkpoint.seal` is `Draft.seal`, or None; without one it is None."""
        for number, seal in enumerate((SEAL, None)):
            path = tmp_path / f"{number}{self.suffix}"
            found = self.opener(path=self.write(path, _tensors("float32"), seal=seal))
            assert found is not None
            assert found.seal == (seal if self.keeps_seal else None)

    def test_a_config_is_kept_where_that_is_declared(self, tmp_path: Path) -> None:
        """`Checkpoint.config` is `Draft.config`, or empty; without one it is empty."""
        config = {"layers": 2, "rate": 0.5, "name": "é", "flag": True, "none": None}
        drafts: list[dict[str, Any]] = [{}, *([{"config": config}] if self.keeps_config else [])]
        for number, more in enumerate(drafts):
            path = tmp_path / f"{number}{self.suffix}"
            found = self.opener(path=self.write(path, _tensors("float32"), **more))
            assert found is not None
            assert dict(found.config) == more.get("config", {})

    def test_no_tensors_at_all(self, tmp_path: Path) -> None:
        """They come back, or are a `CheckpointError`."""
        try:
            found = self.opener(path=self.write(tmp_path / f"file{self.suffix}", {}))
        except CheckpointError:
            return
        assert found is not None
        assert not found.tensors


class ReadOnlyContainerContract(Files):
    """The contract of a kind of file that is only opened. Its author brings a small one:

        class TestMine(ReadOnlyContainerContract):
            container = "mine"
            example = Path(__file__).parent / "small.mine"

    Attributes:
        container: Its name, as in `Checkpoint.container`.
        suffix: Of such files' names, where the opener asks for it.
        example: A small file, or a function that writes one at the path that it is given.
        checksums: Whether it notices when a byte of the numbers is another one.
    """  # noqa: D415  # an example follows

    example: ClassVar[Example]

    def file(self, folder: Path) -> Path:
        """A copy of the example."""
        path = folder / f"a small file{self.suffix}"
        return path if path.exists() else make(getattr_static(self, "example"), path)

    def test_nobody_writes_it(self, tmp_path: Path) -> None:
        """To ask for it is a clear error that leaves nothing; who writes it has more to keep to."""
        with pytest.raises(CheckpointError, match="No installed plugin writes the container"):
            registry().write_checkpoint(tmp_path / "new", draft_of(self.container))
        assert list(tmp_path.iterdir()) == []

    def test_the_registry_opens_it(self, tmp_path: Path) -> None:
        """Whoever else is installed, with names and float numbers in it."""
        found = registry().open_checkpoint(self.file(tmp_path))
        assert found.container == self.container
        assert found.tensors


def _held(array: Array) -> Held:
    return Held(array.shape, array.dtype.name, array)


def _tensors(dtype: str) -> dict[str, Tensor]:
    """Scalars, empty axes, other orders in memory, and the ends of what a dtype can hold."""
    kind = np.dtype("f4" if dtype == "bfloat16" else dtype)
    numbers = _numbers(dtype)
    plain = np.resize(numbers, 24)
    frozen = np.array(plain)
    frozen.flags.writeable = False
    arrays = {
        "z.last comes first": plain.reshape(4, 6),
        "scalar": np.resize(numbers[-1:], ()),
        "one": numbers[:1],
        "empty": np.empty(0, kind),
        "empty axis": np.empty((3, 0, 2), kind),
        "many axes": plain.reshape(2, 1, 3, 1, 4),
        "transposed": plain.reshape(4, 6).T,
        "every second": plain[::2],
        "backwards": plain[::-1],
        "swapped bytes": plain.astype(kind.newbyteorder()),
        "read only": frozen,
        "a.first comes last": numbers,
    }
    return {name: Held(array.shape, dtype, array) for name, array in arrays.items()}


def _numbers(dtype: str) -> Array:
    if dtype == "bool":
        return np.array([True, False, False, True])
    if "int" in dtype:
        ends = np.iinfo(dtype)
        return np.array([ends.min, 0, 1, 7, ends.max], dtype)
    if dtype == "bfloat16":
        bits = [0, 0x80000000, 0x3F800000, 0xC0490000, 0x00010000, 0x7F7F0000, 0x7F800000]
        return np.array(bits, "u4").view("f4")
    ends_ = np.finfo(dtype)
    odd = [0.0, -0.0, 1.0, -np.pi, ends_.max, ends_.tiny, ends_.smallest_subnormal, np.inf]
    return np.array(odd, dtype)


def _same(found: Tensor, expected: Tensor, name: str) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
    array, wanted = found.read(), expected.read()
    kind = wanted.dtype.newbyteorder("=")
    assert isinstance(array, np.ndarray), name
    assert (array.shape, array.dtype) == (wanted.shape, kind), name
    assert array.tobytes() == wanted.astype(kind).tobytes(), f"{name}: other numbers"
