"""The native module: in evaluation mode, and with the parameters themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from riboswitch.testing.backend_case import BackendCase
from riboswitch.testing.shapes import batch_of, outputs_of

LENGTHS = (7, 1, 19)


class Module(BackendCase):
    """What users of the framework take and train."""

    def test_the_module_is_in_evaluation_mode(self) -> None:
        """No part of the native module, where it has a mode, is in training."""
        for name, architecture in self.shapes():
            for part in _parts(self.build(architecture).module):
                assert not getattr(part, "training", False), f"{name}: {type(part).__name__}"

    def test_the_module_holds_the_parameters_themselves(self) -> None:
        """When all of them are zero, so are `canonical` and what `forward` gives."""
        for name, architecture in self.covering():
            backbone, batch = self.build(architecture), batch_of(architecture, LENGTHS)
            outputs = tuple(n for n in outputs_of(architecture) if n != "attentions")
            before = self.run(backbone, batch, outputs)
            assert all(np.any(a) for arrays in before.values() for a in arrays), name
            zeroed = type(self).zeroed or _zeroed
            zeroed(backbone.module)
            left = [key for key, array in backbone.canonical().items() if np.any(array)]
            assert not left, f"{name}: {left[0]} is not zero in `canonical`; {HOW}"
            after = self.run(backbone, batch, outputs)
            finite = all(np.isfinite(a).all() for arrays in after.values() for a in arrays)
            assert finite, f"{name}: numbers that are none when all parameters are 0; {HOW}"
            kept = [n for n, arrays in after.items() if any(np.any(a) for a in arrays)]
            assert not kept, f"{name}: `forward` computes {kept[0]} of other parameters; {HOW}"


HOW = "`zeroed` may say how those of the module are set to zero, and `exempt` that nothing can"


def _parts(module: Any) -> list[Any]:
    """A module and all that it is made of, in torch's words or in Paddle's."""
    for name in ("modules", "sublayers"):
        if callable(listed := getattr(module, name, None)):
            return [module, *listed()]
    return [module]


def _zeroed(module: Any) -> None:
    """Set its parameters to zero: tensors of torch or Paddle, or arrays in dicts and lists."""
    listed = getattr(module, "parameters", None)
    tensors = [*listed()] if callable(listed) else []
    if tensors and all(hasattr(tensor, "zero_") for tensor in tensors):
        for tensor in tensors:
            tensor.detach().zero_()  # one that learns does not let itself be written to
        return
    for owner, key in list(_arrays(module)):
        if isinstance(owner[key], np.ndarray) and owner[key].flags.writeable:
            owner[key][...] = 0
        else:
            owner[key] = owner[key] * 0


def _arrays(node: Any, seen: frozenset[int] = frozenset()) -> Iterator[tuple[Any, Any]]:
    """Where arrays of any framework stand in a tree, or in the attributes of an object."""
    if not isinstance(node, Mapping | Sequence):
        node = getattr(node, "__dict__", {})
    items = node.items() if isinstance(node, Mapping) else enumerate(node)
    inside = seen | {id(node)}
    for key, value in items:
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            writeable = isinstance(value, np.ndarray) and value.flags.writeable
            if writeable or isinstance(node, MutableMapping | MutableSequence):
                yield node, key
        elif _is_tree(value) and id(value) not in inside:
            yield from _arrays(value, inside)


def _is_tree(value: Any) -> bool:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str | bytes)
