"""A job that is killed, starved or doubled ends in the same bytes."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import time

import pytest
from tests.cli.small_jobs import alive, children, plan_of, request, wait_for_chunk

import riboswitch
from riboswitch import files
from riboswitch.jobs.embed import embed_file

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", [1, 3])
def test_killed_at_random_moments_it_ends_in_the_same_bytes(
    cli, records, whole_hash, expected, workers: int
) -> None:
    arguments = ["embed", records, "-o", "k.emb", *cli.small]
    arguments += ["--chunk-residues=2000", f"--workers={workers}", "--json"]
    rng = random.Random(workers)
    chunks = len(plan_of(cli.folder / "whole.emb"))
    killed, caught = 0, False
    while killed < 5:
        job = cli.start(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if killed % 2:  # at any moment, or soon after a chunk is there, however slow the machine
            wait_for_chunk(job, cli.folder / "k.emb")
        time.sleep(rng.uniform(0, 0.2) if killed % 2 else rng.uniform(0.2, 1.2))
        done = job.poll()
        job.send_signal(signal.SIGKILL)
        job.wait()
        killed += 1
        output = cli.folder / "k.emb"
        finished = done == 0
        caught |= not finished and bool(list(output.glob("chunk-*")))
        if not finished and output.exists() and not (output / "manifest.json").exists():
            with pytest.raises(riboswitch.StoreError):
                riboswitch.open_embeddings(output)
        if finished:
            assert whole_hash(output) == expected
            shutil.rmtree(output)
    last = cli(*arguments)
    assert last.returncode == 0, last.stderr
    assert chunks > 10
    assert caught  # a kill fell between two chunks of an unfinished job
    assert whole_hash(cli.folder / "k.emb") == expected


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_failing_write_is_exit_code_5_and_can_be_resumed(
    records, tmp_path, whole_hash, expected, monkeypatch, error: int
) -> None:
    output = tmp_path / "f.emb"
    real, calls = os.fsync, []

    def failing(handle: int) -> None:
        calls.append(handle)
        if len(calls) >= 15:
            raise OSError(error, os.strerror(error))
        real(handle)

    monkeypatch.setattr(files.os, "fsync", failing)
    with pytest.raises(riboswitch.ResourceError, match="give the same command again"):
        embed_file(request(records, output))
    assert not list(output.rglob("*.tmp"))
    with pytest.raises(riboswitch.StoreError):
        riboswitch.open_embeddings(output)
    monkeypatch.undo()
    embed_file(request(records, output))
    assert whole_hash(output) == expected


@pytest.mark.parametrize("pool", [[], ["--pool=mean"]])
def test_a_file_that_may_not_grow_is_exit_code_5(cli, records, pool: list[str]) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))

    done = cli.embed(records, "-o", "f.npz" if pool else "f.emb", *pool, preexec_fn=limit)
    assert done.returncode == 5, done.stderr
    assert "Free some space" in done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(riboswitch.StoreError):
        riboswitch.open_embeddings(cli.folder / ("f.npz" if pool else "f.emb"))


def test_a_full_disk_is_exit_code_5_and_can_be_resumed(cli, records, whole_hash, expected) -> None:
    disk = cli.folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        arguments = [records, "-o", disk / "d.emb", "--chunk-residues=2000"]
        done = cli.embed(*arguments)
        assert done.returncode == 5, done.stderr
        assert "No space left" in done.stderr
        with pytest.raises(riboswitch.StoreError):
            riboswitch.open_embeddings(disk / "d.emb")
        again = cli.embed(*arguments)
        assert again.returncode == 5
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert cli.embed(*arguments).returncode == 0
        assert whole_hash(disk / "d.emb") == expected
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_two_processes_at_once_do_no_harm(cli, records, whole_hash, expected) -> None:
    arguments = ["embed", records, "-o", "t.emb", *cli.small, "--chunk-residues=2000"]
    jobs = [cli.start(*arguments) for _ in range(2)]
    errors = [job.communicate(timeout=120)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], errors
    assert whole_hash(cli.folder / "t.emb") == expected


def test_a_lost_worker_costs_one_chunk(cli, records, whole_hash, expected) -> None:
    arguments = ["embed", records, "-o", "w.emb", *cli.small]
    arguments += ["--chunk-residues=2000", "--workers=2"]
    job = cli.start(*arguments)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(cli.folder.glob("w.emb/chunk-*")):
        time.sleep(0.01)
    for worker in children(job.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    _, errors = job.communicate(timeout=60)
    if job.returncode:  # else it had finished before
        assert job.returncode == 5, errors
        assert "worker process died" in errors
    assert cli(*arguments).returncode == 0
    assert whole_hash(cli.folder / "w.emb") == expected


def test_workers_of_a_killed_parent_do_not_live_on(cli, records) -> None:
    arguments = ["embed", records, "-o", "p.emb", *cli.small]
    arguments += ["--chunk-residues=300", "--workers=2"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    job = cli.start(*arguments, **silent)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(cli.folder.glob("p.emb/chunk-*")):
        time.sleep(0.01)
    workers = children(job.pid)
    job.kill()
    job.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(alive(w) for w in workers):
        time.sleep(0.05)
    assert not [w for w in workers if alive(w)]
