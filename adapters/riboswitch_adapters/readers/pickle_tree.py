"""The last look at what a pickle has built, before it is handed out.

Whoever walks the tree may recurse and may visit shared nodes once per mention, so it must be
shallow, free of cycles and small when unfolded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import define, field

from riboswitch_adapters.readers.lazy import LazyTensor
from riboswitch_adapters.readers.mapped import refusal
from riboswitch_adapters.readers.pickle_values import Namespace, Shell

MAX_DEPTH = 64
MAX_NODES = 100_000
_LEAVES = frozenset({LazyTensor, str, int, float, bool, type(None), bytes})
_CONTAINERS = frozenset({dict, Namespace, list, tuple})


@define(eq=False, repr=False)
class _Open:
    """A container some of whose children have been looked at."""

    node: Any
    rest: Iterator[Any]
    items: list[Any] = field(factory=list)
    size: int = 1
    depth: int = 1

    def add(self, item: object, size: int, depth: int) -> None:
        self.items.append(item)
        self.size += size
        self.depth = max(self.depth, depth + 1)
        if self.depth > MAX_DEPTH or self.size > MAX_NODES:
            raise refusal(f"the pickle's tree is deeper than {MAX_DEPTH} or unfolds without end")

    def close(self) -> Any:
        """The container with its finished items, in place where Python allows it."""
        if type(self.node) is tuple:
            return tuple(self.items)
        if type(self.node) is list:
            self.node[:] = self.items
        else:
            self.node.update(zip(list(self.node), self.items, strict=True))
        return self.node


def finished(root: object) -> object:
    """The tree with tensors in the place of their shells.

    Raises:
        CheckpointError: a tree that is too deep or too large, or holds itself or anything that
            is neither a container, a number, a text nor a tensor.
    """
    return _Walk().finish(root)


class _Walk:
    """Depth first and without recursion; every shared container is looked at once."""

    def __init__(self) -> None:
        self.path: list[_Open] = []
        self.open: set[int] = set()
        # The node is kept with its result, so that no other object takes over its id.
        self.done: dict[int, tuple[Any, Any, int, int]] = {}

    def finish(self, root: object) -> object:
        top = _Open([root], iter([root]))
        self.path.append(top)
        while self.path:
            at = self.path[-1]
            for child in at.rest:
                if not self.enter(at, child):
                    break
            else:
                self.leave()
        return top.items[0]

    def enter(self, at: _Open, child: Any) -> bool:
        """Add a child that is finished; otherwise open it and return False."""
        if type(child) not in _CONTAINERS:
            at.add(_leaf(child), 1, 0)
        elif id(child) in self.done:
            at.add(*self.done[id(child)][1:])
        else:
            self.push(child)
            return False
        return True

    def push(self, node: Any) -> None:
        if id(node) in self.open:
            raise refusal("the pickle's tree holds itself")
        if len(self.path) > MAX_DEPTH:
            raise refusal(f"the pickle's tree is deeper than {MAX_DEPTH}")
        self.open.add(id(node))
        self.path.append(_Open(node, iter(list(node.values() if isinstance(node, dict) else node))))

    def leave(self) -> None:
        left = self.path.pop()
        if not self.path:
            return
        self.open.discard(id(left.node))
        self.done[id(left.node)] = (left.node, left.close(), left.size, left.depth)
        self.path[-1].add(*self.done[id(left.node)][1:])


def _leaf(value: Any) -> object:
    if type(value) is Shell and value.tensor is not None:
        return value.tensor
    if type(value) not in _LEAVES:
        raise refusal(f"a {type(value).__name__} stands where a tensor, number or name is due")
    return value
