"""Broken containers fail the contract."""

from __future__ import annotations

import inspect
import json
import pickle
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from attrs import evolve
from tests.contract.crate import CODES, Crate, Item

from riboswitch.errors import CheckpointError
from riboswitch.testing import ContainerContract

pytestmark = pytest.mark.slow


class Contract(ContainerContract):
    __test__ = False
    container = "crate"
    dtypes = tuple(CODES)
    checksums = True
    keeps_seal = True


def opening(change: Callable) -> dict[str, object]:
    """Change what is found, given the path and the checkpoint."""

    def changed(self, path):
        found = Crate.open(self, path)
        return found and change(path, found)

    return {"open": changed}


def writing(change: Callable) -> dict[str, object]:
    """Change what is written, given the draft."""

    def write(self, path, draft):
        return draft.container == "crate" and Crate.write(self, path, change(draft))

    return {"write": write}


def reading(**changes: Callable) -> dict[str, object]:
    """Another kind of tensor."""
    return {"item": lambda self, *parts: type("Odd", (Item,), changes)(*parts)}


def eager(path, found):
    kept = {name: np.array(tensor.read()) for name, tensor in found.tensors.items()}
    return evolve(found, config={}) if kept else found


def reopened(path, found):
    """Read from the path each time."""

    def read(self):
        table, body = Crate().table(path, memoryview(path.read_bytes()))
        at = 0
        for _, dtype, shape, _ in table["tensors"]:
            size = int(np.prod(shape)) * np.dtype(CODES[dtype]).itemsize
            if (dtype, tuple(shape)) == (self.dtype, self.shape):
                return np.frombuffer(body[at : at + size], CODES[dtype]).reshape(shape)
            at += size
        raise CheckpointError("it is another file now")

    odd = type("Reopened", (Item,), {"read": read})
    tensors = {n: odd(t.shape, t.dtype, t.data, t.crc, t.where) for n, t in found.tensors.items()}
    return evolve(found, tensors=tensors)


def buffered():
    """One buffer for all that is read."""
    buffer = np.zeros(1 << 12, "u1")

    def read(self):
        found = Item.read(self)
        if found.nbytes > buffer.nbytes or not found.size:
            return found
        view = buffer[: found.nbytes].view(found.dtype).reshape(found.shape)
        view[...] = found
        return view

    return read


def unchecked(self):
    return np.frombuffer(self.data, CODES[self.dtype]).reshape(self.shape)


def padded(self):
    """Numbers that are not there are 0."""
    size = int(np.prod(self.shape)) * np.dtype(CODES[self.dtype]).itemsize
    data = bytes(self.data).ljust(size, b"\0")
    return np.frombuffer(data, CODES[self.dtype]).reshape(self.shape)


def careless(self, path, data):
    """Let the errors of the libraries out."""
    size = int.from_bytes(data[6:10], "little")
    return json.loads(bytes(data[14 : 14 + size])), data[14 + size :]


def ended(self, path, at, size):
    if at != size:
        raise ValueError("cut short")


def unpickling(self, path, data):
    if bytes(data[6:8]) == b"\x80\x02":
        pickle.loads(data[6:])
    return Crate.table(self, path, data)


def greedy(self, path):
    found = Crate.open(self, path) if path.is_file() else None
    if found is None and path.is_file():
        return self.found(path, {}, {"seal": None})
    return found


def strict(self, path):
    if not path.exists():
        raise FileNotFoundError(path)
    return Crate.open(self, path)


def cross(self, path):
    found = Crate.open(self, path)
    if found is None and path.is_file():
        raise CheckpointError(f"{path} is no crate.\nGive a crate.")
    return found


def twice(self, body, name, tensor):
    tensor.read()
    return Crate.packed(self, body, name, tensor)


def all_at_once(self, path, draft):
    if draft.container != "crate":
        return None
    held = {n: (t, t.read()) for n, t in draft.tensors.items()}
    once = {
        n: type("Kept", (), {"shape": t.shape, "dtype": t.dtype, "read": lambda self, a=a: a})()
        for n, (t, a) in held.items()
    }
    return Crate.write(self, path, evolve(draft, tensors=once))


def leaving(self, path, draft):
    done = Crate.write(self, path, draft)
    if done:
        path.with_name("left").write_bytes(b"")
    return done


def wrapping(self, path, draft):
    try:
        return Crate.write(self, path, draft)
    except BaseException as error:
        raise OSError("cannot be written") from error


def renamed(draft):
    return evolve(draft, tensors={n.strip("./ "): t for n, t in draft.tensors.items()})


def rounded(self, body, name, tensor):
    row = Crate.packed(self, body, name, tensor)
    return [row[0], "float64" if row[1] == "int64" else row[1], *row[2:]]


def as_it_lies(body, name, tensor):
    data = tensor.read().tobytes("A")
    body.write(data)
    return [name, tensor.dtype, tensor.shape, zlib.crc32(data)]


ROUND = "a_dtype_comes_back_bit_for_bit_or_is_refused"
F4, U8 = {"dtype": "float32"}, {"dtype": "uint8"}
MUTANTS: dict[str, tuple[dict[str, object], str, dict[str, str]]] = {
    "another container": (
        opening(lambda p, c: evolve(c, container="box")),
        "it_is_written_and_opened",
        {},
    ),
    "another path": (
        opening(lambda p, c: evolve(c, path=p.name)),
        "it_is_written_and_opened",
        {},
    ),
    "leaves a file": ({"write": leaving}, "it_is_written_and_opened", {}),
    "sorts": (
        opening(lambda p, c: evolve(c, tensors=dict(sorted(c.tensors.items())))),
        ROUND,
        F4,
    ),
    "forgets scalars": (
        writing(lambda d: evolve(d, tensors={n: t for n, t in d.tensors.items() if t.shape})),
        ROUND,
        F4,
    ),
    "writes as it lies in memory": (
        {"packed": lambda self, body, n, t: as_it_lies(body, n, t)},
        ROUND,
        F4,
    ),
    "changes the dtype": ({"packed": rounded}, ROUND, {"dtype": "int64"}),
    "takes what it cannot hold": (
        writing(
            lambda d: evolve(d, tensors={n: t for n, t in d.tensors.items() if t.dtype in CODES})
        ),
        ROUND,
        U8,
    ),
    "a KeyError for a dtype": (
        writing(lambda d: {CODES[t.dtype] for t in d.tensors.values()} and d),
        ROUND,
        U8,
    ),
    "tidies names": (writing(renamed), "a_name_comes_back_or_is_refused", {"name": "../a"}),
    "ASCII alone": (
        writing(lambda d: [n.encode("ascii") for n in d.tensors] and d),
        "names_of_models_are_never_refused",
        {},
    ),
    "reads twice": ({"packed": twice}, "each_tensor_is_read_once_and_let_go", {}),
    "keeps all": ({"write": all_at_once}, "each_tensor_is_read_once_and_let_go", {}),
    "loses the second name": (
        writing(
            lambda d: evolve(
                d, tensors={n: t for t, n in {t: n for n, t in d.tensors.items()}.items()}
            )
        ),
        "one_tensor_under_two_names",
        {},
    ),
    "wraps errors": (
        {"write": wrapping},
        "the_error_of_a_tensor_passes_through",
        {"error": MemoryError},
    ),
    "writes for others": (
        {"write": lambda self, path, draft: path.write_bytes(b"x") > 0},
        "other_containers_are_left_to_others",
        {},
    ),
    "loses the seal": (
        opening(lambda p, c: evolve(c, seal=None)),
        "a_seal_is_kept_where_that_is_declared",
        {},
    ),
    "makes up a seal": (
        opening(lambda p, c: evolve(c, seal=c.seal or "0")),
        "a_seal_is_kept_where_that_is_declared",
        {},
    ),
    "makes up a config": (
        opening(lambda p, c: evolve(c, config={"a": 1})),
        "a_config_is_kept_where_that_is_declared",
        {},
    ),
    "makes up a tensor": (
        opening(lambda p, c: evolve(c, tensors=c.tensors or {"a": Item((), "float32", b"", 0, p)})),
        "no_tensors_at_all",
        {},
    ),
    "has no float32": ({}, "float32_is_among_its_dtypes", {}),
    "lies about shapes": (
        reading(read=lambda self: Item.read(self).reshape(-1)),
        "tensors_are_what_they_say",
        {},
    ),
    "reads when it opens": (opening(eager), "opening_reads_no_numbers", {}),
    "one buffer for all": (reading(read=buffered()), "reading_again_gives_the_same", {}),
    "reads the path again": (
        opening(reopened),
        "a_file_that_is_replaced_or_deleted",
        {"change": "replaced"},
    ),
    "lets another error out": (
        opening(reopened),
        "a_file_that_is_replaced_or_deleted",
        {"change": "deleted"},
    ),
    "does not look for the end": (
        {**reading(read=padded), "ended": lambda *sizes: None},
        "a_file_cut_short_is_an_error",
        {},
    ),
    "never checks": (reading(read=unchecked), "a_flipped_byte_is_an_error_or_harmless", {}),
    "a JSON error": ({"table": careless}, "a_flipped_byte_is_an_error_or_harmless", {}),
    "never looks": (
        {**reading(read=padded), "ended": lambda *sizes: None},
        "garbage_is_an_error_or_harmless",
        {},
    ),
    "a ValueError": ({"ended": ended}, "garbage_is_an_error_or_harmless", {}),
    "unpickles": ({"table": unpickling}, "no_pickle_is_run", {}),
    "takes anything": ({"open": greedy}, "a_foreign_file_is_left_to_others", {"kind": "text"}),
    "refuses anything": ({"open": cross}, "a_foreign_file_is_left_to_others", {"kind": "text"}),
    "takes other containers": (
        {"open": greedy},
        "files_of_other_containers_are_left_to_others",
        {},
    ),
    "wants a file": ({"open": strict}, "a_folder_an_empty_file_and_nothing", {}),
}


def run(contract: object, test: str, known: dict[str, object]) -> None:
    function = getattr(contract, f"test_{test}")
    function(**{name: known[name] for name in inspect.signature(function).parameters})


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_one_fails(pack, mutant, tmp_path):
    parts, test, parameters = MUTANTS[mutant]
    pack(type("Mutant", (Crate,), parts)())
    facts = {"dtypes": ("float16",)} if mutant == "has no float32" else {}
    contract = type("TestBroken", (Contract,), facts)()
    # What lets another exception than its own out is broken too.
    with pytest.raises((Exception, pytest.fail.Exception)) as caught:
        run(contract, test, {"tmp_path": tmp_path, **parameters})
    assert "no plugin opens" not in str(caught.value)


def test_every_test_has_a_mutant():
    tests = {name for name in dir(ContainerContract) if name.startswith("test_")}
    assert {f"test_{test}" for _, test, _ in MUTANTS.values()} == tests
