"""`BackendContract`: what every backend keeps to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from riboswitch.errors import BackendError
from riboswitch.interfaces import Backbone, Backend
from riboswitch.loading import load
from riboswitch.registry import refusal, registry
from riboswitch.testing.announced import frameworks_imported
from riboswitch.testing.backend_batches import Batches
from riboswitch.testing.backend_case import HALF, Stray, described
from riboswitch.testing.backend_dtypes import Dtypes
from riboswitch.testing.backend_module import Module
from riboswitch.testing.backend_numbers import Numbers
from riboswitch.testing.backend_real import Real
from riboswitch.testing.backend_weights import Weights


class BackendContract(Numbers, Dtypes, Real, Batches, Weights, Module):
    """The contract of a backend. A subclass states which:

        class TestMine(BackendContract):
            backend = "mine"

    It must be installed, its plugin announced. What it cannot do it declares where users look
    too: `BackendEntry.refuses`, `Backend.devices()` and `Backend.dtypes()`. Refused
    architectures are tested to be refused, dtypes that are not declared to be an error.

    Attributes:
        backend: Its name, as in `load(…, backend=name)`.
        device: The one to test on. One subclass for each device.
        sizes: Values of every architecture that is tried, for a backend that refuses the usual
            small ones: `{"hidden_size": 128, "num_heads": 2}`.
        half_tolerance: For bfloat16 and float16, where a backend strays more than the table
            allows: the mean absolute difference over the mean size, 0.25 at most, and the
            reason: `{"bfloat16": (0.08, "its tables have 8 bits")}`.
        same_bits: Dtypes in which it gives the bits of another one, and the reason why each is
            declared all the same: `{"float16": "the chip has float32 alone"}`.
        zeroed: A function that sets all parameters of `module` to zero, for modules that are
            neither torch's nor Paddle's, nor dicts and lists of arrays:
            `zeroed = staticmethod(lambda module: …)`.
    """  # noqa: D415  # an example follows

    backend: ClassVar[str]
    device: ClassVar[str] = "cpu"
    sizes: ClassVar[Mapping[str, Any]] = {}
    half_tolerance: ClassVar[Mapping[str, Stray]] = {}
    same_bits: ClassVar[Mapping[str, str]] = {}
    zeroed: ClassVar[Callable[[Any], object] | None] = None

    def test_it_is_announced_and_starts(self) -> None:
        """Under one name everywhere, with a version and the command that installs it."""
        assert self.backend in registry().backends, "no plugin announces it"
        assert (self.entry.name, self.started.name) == (self.backend, self.backend)
        assert self.entry.install.strip()
        assert self.started.version.strip()
        assert isinstance(self.started, Backend)

    def test_a_backbone_has_what_the_interface_asks_for(self) -> None:
        """`module`, `forward` and `canonical`."""
        _, architecture = next(self.shapes())
        backbone = self.build(architecture)
        assert isinstance(backbone, Backbone)
        assert backbone.module is not None

    def test_announcing_it_imports_no_framework(self) -> None:
        """Nor does `refuses`: the plugin's module is imported by every command."""
        assert frameworks_imported(self.entry) == []

    def test_refusals_are_clauses(self) -> None:
        """Each registered model is taken, or refused with a reason."""
        for model in registry().models.values():
            reason = self.entry.refuses(model.architecture)
            assert reason is None or (isinstance(reason, str) and reason.strip()), model.name
            assert reason == refusal(self.entry, model.architecture)

    def test_an_unknown_device_is_an_error(self) -> None:
        """One that the machine has not is a `BackendError` that lists what it has."""
        with pytest.raises(BackendError, match=r"no device 'nowhere'.*\nIt has: "):
            self._load(device="nowhere")

    @pytest.mark.parametrize("dtype", ["int8", *HALF, "float64"])
    def test_a_dtype_is_declared_or_an_error(self, dtype: str) -> None:
        """What is not among `dtypes()` is a `BackendError`; what is computes."""
        if dtype in self.dtypes:
            assert self._load(dtype=dtype).dtype == dtype
            return
        with pytest.raises(BackendError, match=rf"cannot compute in '{dtype}'.*\nIt can: "):
            self._load(dtype=dtype)

    def _load(self, **options: str) -> Any:
        _, architecture = next(self.shapes())
        architecture = self.model(architecture).architecture
        name = next(iter(registry().models))
        options = {"backend": self.backend, "device": self.device, **options}
        return load(name, weights="random", architecture=described(architecture), **options)  # type: ignore[arg-type]  # mypy reads **
