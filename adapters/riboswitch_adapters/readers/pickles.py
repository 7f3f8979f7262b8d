"""Read the pickles inside checkpoints without running them.

An interpreter of pickle's protocols 2 to 5 over a mapped file. It can build dicts, lists,
tuples, numbers, texts and tensors, and nothing else: no name is ever looked up, no function
called. `pickle.Unpickler` with a narrowed `find_class` would not do: its C code allocates
gigabytes for a forged memo index before it can be asked anything.
"""

from __future__ import annotations

from typing import Any

import riboswitch_adapters.readers.pickle_containers  # noqa: F401 (it registers opcodes)
from riboswitch.errors import CheckpointError
from riboswitch_adapters.readers.lazy import MAX_ELEMENTS
from riboswitch_adapters.readers.mapped import DAMAGE, refusal
from riboswitch_adapters.readers.pickle_machine import FindStorage, Machine, opcode
from riboswitch_adapters.readers.pickle_names import CALLS, STORAGES, fill, known_name, set_order
from riboswitch_adapters.readers.pickle_tree import finished
from riboswitch_adapters.readers.pickle_values import Dtype, Ledger, Name, Namespace, Shell

_CALL_STEPS = 10  # calls and persistent ids make larger objects than other opcodes
_MAX_GLOBAL = 256


def read_pickle(
    data: memoryview, *, storages: FindStorage | None = None, ledger: Ledger | None = None
) -> object:
    """Read one pickle that fills `data`.

    Args:
        data: bytes of a pickle of protocol 2 to 5.
        storages: finds torch's storages; without it persistent ids are refused.
        ledger: the file's name and how much its tensors may claim; `data` is the file without it.

    Returns:
        Plain dicts, lists, tuples, numbers and texts, with `LazyTensor` for every array and
        `Namespace` for every `argparse.Namespace`. No node is deeper than 64, none holds itself.

    Raises:
        CheckpointError: any other name or opcode, or damage; the message has the byte offset.
    """
    tree, end = read_first(data, 0, storages=storages, ledger=ledger)
    if end != len(data):
        raise refusal(f"{len(data) - end} bytes follow the end of the pickle at byte {end}")
    return tree


def read_first(
    data: memoryview,
    start: int,
    *,
    storages: FindStorage | None = None,
    ledger: Ledger | None = None,
) -> tuple[object, int]:
    """Read the pickle that begins at `start`; also say where it ends."""
    machine = Machine(data, start, storages, ledger or Ledger.of("pickle", len(data)))
    try:
        root = machine.run()
        machine.memo.clear()
        return finished(root), machine.position
    except CheckpointError as error:
        raise CheckpointError(f"byte {machine.at} of the pickle: {error}") from error
    except DAMAGE as error:
        found = f"byte {machine.at} of the pickle: damaged or cut short: {type(error).__name__}"
        raise refusal(found) from error


@opcode(b"c")
def _global(m: Machine) -> None:
    text = bytes(m.data[m.position : m.position + _MAX_GLOBAL])
    module, name, _ = text.split(b"\n", 2)
    m.position += len(module) + len(name) + 2
    m.stack.append(known_name(module.decode("utf-8"), name.decode("utf-8")))


@opcode(b"\x93")
def _stack_global(m: Machine) -> None:
    name, module = m.pop(str), m.pop(str)
    m.stack.append(known_name(module, name))


@opcode(b"R")
def _reduce(m: Machine) -> None:
    m.ledger.spend(_CALL_STEPS)
    args, name = m.pop(tuple), m.pop(Name)
    if name.text not in CALLS:
        raise refusal(f"{name.text} is called, which no writer does")
    m.stack.append(CALLS[name.text](m.ledger, args))


@opcode(b"\x81")
def _new_object(m: Machine) -> None:
    args, name = m.pop(tuple), m.pop(Name)
    if args or name.text != "argparse.Namespace":
        raise refusal(f"an object of {name.text} is made, which no writer does")
    m.stack.append(Namespace())


@opcode(b"b")
def _build(m: Machine) -> None:
    m.ledger.spend(_CALL_STEPS)
    state, target = m.stack.pop(), m.stack[-1]
    if isinstance(target, Shell):
        fill(m.ledger, target, state)
    elif isinstance(target, Dtype):
        set_order(target, state)
    else:
        _set_attributes(target, state)


def _set_attributes(target: object, state: object) -> None:
    if type(state) is not dict or not all(type(name) is str for name in state):
        raise refusal("an object's attributes are not a dict of names")
    if type(target) is Namespace:
        target.update(state)
    # torch leaves the versions of modules on a state dict, which nobody needs here.
    elif type(target) is not dict or set(state) - {"_metadata"}:
        raise refusal(f"attributes are set on a {type(target).__name__}")


@opcode(b"Q")
def _persistent(m: Machine) -> None:
    m.ledger.spend(_CALL_STEPS)
    kind, name, key, _, count, *view = _persistent_id(m.pop(tuple))
    known = kind == "storage" and isinstance(name, Name) and name.text in STORAGES
    if not known or type(key) is not str or type(count) is not int or view not in ([], [None]):
        raise refusal("a persistent id is not that of a plain torch storage")
    if m.storages is None or not 0 <= count < MAX_ELEMENTS:
        raise refusal("a persistent id names a storage that the file cannot have")
    m.stack.append(m.storages(key, STORAGES[name.text], count))


def _persistent_id(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(parts) not in (5, 6):  # legacy files have six
        raise refusal("a persistent id is not that of a plain torch storage")
    return parts
