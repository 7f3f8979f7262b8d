"""Our own containers keep the contract that we ask of others, and so does a stranger's."""

from __future__ import annotations

import pytest
from attrs import evolve
from tests.contract.crate import CODES, Crate, written

from riboswitch.errors import CheckpointError
from riboswitch.interfaces import Form
from riboswitch.registry import registry
from riboswitch.testing import ContainerContract, ReadOnlyContainerContract
from riboswitch.testing.openers import OpenerContract, containers, containers_of

EVERYWHERE = (
    *("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8"),
    *("uint8", "bool"),
)


class TestTorch(ContainerContract):
    container = "torch"
    dtypes = EVERYWHERE
    checksums = True
    keeps_config = True


class TestPaddle(ContainerContract):
    container = "paddle"
    dtypes = EVERYWHERE
    checksums = True
    keeps_seal = True


class TestSafetensors(ContainerContract):
    container = "safetensors"
    dtypes = EVERYWHERE
    checksums = True
    keeps_seal = True


class TestCrate(ContainerContract):
    container = "crate"
    dtypes = tuple(CODES)
    checksums = True
    keeps_seal = True

    @pytest.fixture(autouse=True)
    def _installed(self, pack):
        pack(Crate())


class TestReadOnlyCrate(ReadOnlyContainerContract):
    container = "crate"
    checksums = True
    example = written

    @pytest.fixture(autouse=True)
    def _installed(self, install):
        install(riboswitch_open_checkpoint=lambda path: Crate().open(path))


class TestOpener(OpenerContract):
    plugin = "stranger"

    @pytest.fixture(autouse=True)
    def _installed(self, install):
        install(riboswitch_open_checkpoint=lambda path: Crate().open(path))


def test_a_written_one_cannot_call_itself_read_only(pack, tmp_path):
    pack(Crate())
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        TestReadOnlyCrate().test_nobody_writes_it(tmp_path)


def test_one_that_another_plugin_opens_first_is_noticed(install, tmp_path):
    install(riboswitch_open_checkpoint=lambda path: None)
    with pytest.raises(pytest.fail.Exception, match="no plugin opens a file of"):
        TestReadOnlyCrate().test_tensors_are_what_they_say(tmp_path)
    with pytest.raises(CheckpointError):
        TestReadOnlyCrate().test_the_registry_opens_it(tmp_path)


def test_an_example_that_is_not_there_is_said(tmp_path):
    contract = type("TestLost", (TestReadOnlyCrate,), {"example": tmp_path / "lost"})
    with pytest.raises(AssertionError, match=r"the example .*lost is not there"):
        contract().test_the_registry_opens_it(tmp_path)


def test_a_layout_may_be_in_a_stranger_s_container(pack, plant):
    pack(Crate())
    own = registry().layouts["rinalmo"]
    plant(evolve(own, form=lambda entry: Form(container="crate")))
    assert "crate" in containers()
    assert containers_of("stranger") == ["crate"]
