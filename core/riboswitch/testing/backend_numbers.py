"""What a backend computes: NumPy in float64 is the judge."""

from __future__ import annotations

import numpy as np
import pytest

from riboswitch.architecture import Architecture
from riboswitch.errors import BackendError, UsageError
from riboswitch.interfaces import DTYPES, OUTPUTS, Array, float_dtype
from riboswitch.registry import refusal, registry
from riboswitch.testing.backend_case import BackendCase, judge, same
from riboswitch.testing.shapes import CHANGES, batch_of, outputs_of, shape

LENGTHS = (7, 1, 19, 7, 2, 33)


class Numbers(BackendCase):
    """Parity with the judge, and what results look like."""

    @pytest.mark.parametrize("name", CHANGES)
    def test_agrees_with_numpy_or_refuses(self, name: str) -> None:
        """Every output in every declared dtype; what is refused is refused with a reason."""
        architecture = shape(name, self.sizes)
        if refusal(self.entry, architecture):
            self._is_refused(architecture)
            return
        batch = batch_of(architecture, LENGTHS)
        expected = judge(architecture, batch)
        for dtype in self.dtypes:
            found = self.build(architecture, dtype).forward(batch, outputs_of(architecture))
            self.near(found, expected, dtype, name)

    def _is_refused(self, architecture: Architecture) -> None:
        reason = self.entry.refuses(architecture)
        assert isinstance(reason, str) and reason.strip(), "a refusal is a clause in a few words"
        with pytest.raises(BackendError) as caught:
            registry().backend(self.backend, architecture)
        assert reason in str(caught.value)

    def test_the_longest_sequence(self) -> None:
        """One that takes every row of a table of positions, beside the shortest."""
        for name, architecture in self.shapes():
            batch = batch_of(architecture, (architecture.max_tokens or 300, 1))
            found = self.build(architecture).forward(batch, ("representation",))
            expected = {"representation": judge(architecture, batch)["representation"]}
            self.near(found, expected, self.precise, name)

    def test_names_shapes_and_dtypes_of_results(self) -> None:
        """As `Backbone.forward` promises them, in each declared dtype."""
        for name, architecture in self.shapes():
            batch, outputs = batch_of(architecture, LENGTHS), outputs_of(architecture)
            for dtype in self.dtypes:
                found = self.run(self.build(architecture, dtype), batch, outputs)
                assert list(found) == list(outputs), name
                for output, arrays in found.items():
                    assert isinstance(arrays, list)
                    assert [a.shape for a in arrays] == _shapes(architecture, output), name
                    assert {_kind(a) for a in arrays} == {np.dtype(float_dtype(dtype))}, output

    def test_each_output_alone_is_what_it_is_among_others(self) -> None:
        """What is asked for beside it changes nothing beyond rounding."""
        for name, architecture in self.shapes():
            batch, outputs = batch_of(architecture, LENGTHS), outputs_of(architecture)
            backbone = self.build(architecture)
            together = self.run(backbone, batch, outputs)
            for output in outputs:
                alone = self.run(backbone, batch, (output,))
                same(alone, {output: together[output]}, 5e-6, f"{name}, asked for alone")

    def test_what_is_not_asked_for_or_not_there(self) -> None:
        """Nothing for nothing; what an architecture lacks is a `UsageError` of the `Model`."""
        for name, architecture in self.shapes():
            backbone = self.build(architecture)
            assert self.run(backbone, batch_of(architecture, LENGTHS), ()) == {}, name
            for output in {*OUTPUTS} - {*outputs_of(architecture)}:
                with pytest.raises(UsageError, match=f"no output '{output}'"):
                    self.model(architecture).forward(["GGGUGCGAUCAU"], (output,))

    def test_outputs_fit_each_other(self) -> None:
        """The last hidden state is the representation; a token's attentions add up to 1."""
        for name, architecture in self.shapes():
            batch, outputs = batch_of(architecture, LENGTHS), outputs_of(architecture)
            found = self.run(self.build(architecture), batch, outputs)
            pairs = zip(found["hidden_states"], found["representation"], strict=True)
            assert all(np.array_equal(states[-1], last) for states, last in pairs), name
            for weights in found["attentions"]:
                np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5, err_msg=name)

    def test_masks_alone_give_finite_numbers(self) -> None:
        """Token dropout must not divide by the share of tokens that are left."""
        for name, architecture in self.shapes():
            batch = batch_of(architecture, (5, 3))
            batch.ids[:] = architecture.mask_id or 0
            for dtype in self.dtypes:
                found = self.run(self.build(architecture, dtype), batch, ("representation",))
                assert all(np.isfinite(a).all() for a in found["representation"]), name

    def test_devices_and_dtypes_are_declared(self) -> None:
        """The device is one of the machine's; float32 or float64 is among its dtypes."""
        assert self.device in self.started.devices()
        assert self.precise in self.dtypes
        assert set(self.dtypes) <= set(DTYPES)
        assert len(set(self.dtypes)) == len(self.dtypes)


def _kind(array: Array) -> object:
    return array.dtype if isinstance(array, np.ndarray) else type(array)


def _shapes(architecture: Architecture, output: str) -> list[tuple[int, ...]]:
    """What `Backbone.forward` promises for sequences of `LENGTHS`."""
    a = architecture
    layers, heads, d = a.num_layers, a.num_heads, a.hidden_size
    return [
        {
            "representation": (t, d),
            "logits": (t, a.vocab_size),
            "hidden_states": (layers + 1, t, d),
            "attentions": (layers, heads, t, t),
            "pooled": (d,),
        }[output]
        for t in LENGTHS
    ]
