"""`riboswitch fetch` in processes of its own, which are killed, stopped and doubled."""

from __future__ import annotations

import hashlib
import json
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.released.loopback import serving

from riboswitch.registry import registry

pytestmark = pytest.mark.beyond_the_core

CONTENT = random.Random(9).randbytes(3_000_000)


@pytest.fixture
def server(monkeypatch, tmp_path):
    with serving(CONTENT) as running:
        running.commit = registry().model("mrnafm").released.source.revision
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.setenv("RIBOSWITCH_CACHE", str(tmp_path / "cache"))
        for name in ("RIBOSWITCH_OFFLINE", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        yield running


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "cache" / "mrnafm"


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.part"))


def stop_in_the_middle(cli: Any, server: Any, stop: Callable[[Any], None]) -> Any:
    """Start a fetch, stop it when half has come, and let the server run freely again."""
    server.rate = 1.5e6
    job = cli.start("fetch", "mrnafm")
    deadline = time.monotonic() + 30
    while server.sent < len(CONTENT) / 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    stop(job)
    job.output = job.communicate(timeout=30)
    time.sleep(0.1)
    server.rate, server.sent = None, 0
    return job


def test_fetch_prints_the_path_and_the_licence(cli, server, folder):
    done = cli("fetch", "mrnafm")
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path == folder / "mRNA-FM_pretrained.pth"
    assert path.read_bytes() == CONTENT
    assert "licence: MIT" in done.stderr
    assert "https://huggingface.co/cuhkaih/rnafm" in done.stderr
    again = cli("fetch", "mrnafm", "--json", "--quiet")
    assert again.stderr == ""
    found = json.loads(again.stdout)
    assert found["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert (found["path"], found["licence"], found["size"]) == (str(path), "MIT", len(CONTENT))
    assert len(server.downloads) == 1
    cli("fetch", "mrnafm", "--force")
    assert len(server.downloads) == 2


def test_a_killed_fetch_goes_on(cli, server, folder):
    stop_in_the_middle(cli, server, lambda job: job.kill())
    (part,) = parts(folder)
    received = part.stat().st_size
    assert len(CONTENT) / 3 < received < len(CONTENT)
    done = cli("fetch", "mrnafm")
    assert done.returncode == 0, done.stderr
    assert (folder / "mRNA-FM_pretrained.pth").read_bytes() == CONTENT
    assert server.sent == len(CONTENT) - received
    assert not parts(folder)


def test_an_interrupted_fetch_says_so_and_goes_on(cli, server, folder):
    job = stop_in_the_middle(cli, server, lambda job: job.terminate())
    assert job.returncode == 130
    assert "goes on where it was" in job.output[1]
    assert "Traceback" not in job.output[1]
    assert len(parts(folder)) == 1
    assert cli("fetch", "mrnafm").returncode == 0
    assert server.sent < 0.6 * len(CONTENT)


def test_processes_at_once_are_all_right(cli, server, folder):
    server.rate = 3e6
    jobs = [cli.start("fetch", "mrnafm") for _ in range(3)]
    for job in jobs:
        output, errors = job.communicate(timeout=60)
        assert job.returncode == 0, errors
        assert Path(output.strip()).read_bytes() == CONTENT
    assert cli("fetch", "mrnafm", "--check").returncode == 0
    names = {path.name for path in folder.iterdir()}
    assert names == {"mRNA-FM_pretrained.pth", "mRNA-FM_pretrained.pth.json"}


def test_check_finds_damage(cli, server, folder):
    path = Path(cli("fetch", "mrnafm").stdout.strip())
    good = cli("fetch", "mrnafm", "--check")
    assert (good.returncode, good.stdout) == (0, f"{path}\n")
    assert f"SHA-256 {server.sha256}" in good.stderr
    path.write_bytes(bytes(len(CONTENT)))
    bad = cli("fetch", "mrnafm", "--check")
    assert (bad.returncode, bad.stdout) == (4, "")
    assert "is damaged" in bad.stderr
    assert bad.stderr.splitlines()[-1].startswith("Give `riboswitch fetch mrnafm --force`")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["rnafn"], 2, "Did you mean 'rnafm'?"),
        (["rinalmo-nano"], 2, "ever released"),
        (["rnafm", "--check", "--force"], 2, "not both"),
        (["rnafm", "--check"], 4, "are not here"),
        (["rnafm"], 4, "RIBOSWITCH_OFFLINE is set"),
        (["rinalmo-giga"], 4, "10.5281/zenodo.15043668"),
        (["rnaernie"], 4, "model_state.pdparams and model_config.json from https://drive.google"),
    ],
)
def test_wrong_use_and_what_is_not_here(cli, server, monkeypatch, arguments, code, says):
    monkeypatch.setenv("RIBOSWITCH_OFFLINE", "1")
    done = cli("fetch", *arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not server.requests


def test_a_full_disk_is_5_and_the_part_stays(cli, server, folder):
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    done = cli("fetch", "mrnafm", preexec_fn=small_files)
    assert done.returncode == 5, done.stderr
    assert "Free some space" in done.stderr
    (part,) = parts(folder)
    assert part.stat().st_size == 1_000_000
    server.sent = 0
    assert cli("fetch", "mrnafm").returncode == 0
    assert server.sent == len(CONTENT) - 1_000_000


def test_embed_fetches_what_is_not_here(cli, server, folder, fixtures):
    server.content = (fixtures / "mrnafm" / "mRNA-FM_pretrained.pth").read_bytes()
    cli.write("codons.fa", ">a\nAUGGCCAAA\n")
    arguments = ("embed", "codons.fa", "-o", "out.emb", "--model=mrnafm", "--backend=numpy")
    wrong = cli(*arguments, "--backend=nmpy")
    assert wrong.returncode == 2
    assert not server.requests
    done = cli(*arguments)
    assert done.returncode == 0, done.stderr
    assert "licence: MIT" in done.stderr
    assert (folder / "mRNA-FM_pretrained.pth.json").exists()
    assert len(server.downloads) == 1
    filled = cli("fill-mask", "AUG<mask>AAA", "--model=mrnafm", "--backend=numpy")
    assert filled.returncode == 0, filled.stderr
    assert "licence" not in filled.stderr
    assert len(server.downloads) == 1


def test_what_is_wrong_is_said_before_anything_is_fetched(cli, server, tmp_path):
    (tmp_path / "x.fasta").write_text(">a\nACG\n")
    arguments = ["embed", tmp_path / "x.fasta", "-o", tmp_path / "x.emb", "--model", "mrnafm"]
    done = cli(*arguments, "--layer", "99")
    assert done.returncode == 2
    assert "There is no layer 99" in done.stderr
    assert server.sent == 0


def test_a_dry_run_fetches_nothing(cli, server, tmp_path):
    (tmp_path / "x.fasta").write_text(">a\nACGUACGU\n")
    arguments = ["embed", tmp_path / "x.fasta", "-o", tmp_path / "x.emb"]
    done = cli(*arguments, "--model", "rinalmo-micro", "--backend", "numpy", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "released weights are not here" in done.stderr
    assert "memory" in done.stdout
    assert server.sent == 0
