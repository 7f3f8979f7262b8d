"""A job that is killed, starved or doubled ends in the same bytes."""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import riboswitch
from riboswitch import files
from riboswitch.jobs import plan, work
from riboswitch.jobs.embed import Request, embed_file

SIZES = {"num_layers": 1, "hidden_size": 40, "feed_forward_size": 80}
LOAD = {"name": "rinalmo-nano", "weights": "random", "backend": "numpy", "architecture": SIZES}


@pytest.fixture
def records(cli) -> Path:
    """A few hundred real sequences."""
    lines = gzip.decompress(cli.sample.read_bytes()).decode().split(">")[1:201]
    return cli.write("in.fa", "".join(f">{record}" for record in lines))


def request(records: Path, output: Path, **options: object) -> Request:
    settings = {"load": LOAD, "chunk_residues": 2000, **options}
    return Request(source=str(records), output=output, **settings)


@pytest.fixture
def expected(records: Path, tmp_path: Path, whole_hash) -> str:
    embed_file(request(records, tmp_path / "whole.emb"))
    return whole_hash(tmp_path / "whole.emb")


def test_the_bytes_do_not_depend_on_the_workers(records, tmp_path, whole_hash, expected) -> None:
    for workers in (2, 3):
        embed_file(request(records, tmp_path / f"{workers}.emb", workers=workers))
        assert whole_hash(tmp_path / f"{workers}.emb") == expected


def test_pooled_bytes_do_not_depend_on_the_workers(records, tmp_path, whole_hash) -> None:
    suffixes = [".npz"]
    if shutil.which("python") and _has_pyarrow():
        suffixes.append(".parquet")
    for suffix in suffixes:
        outputs = [tmp_path / f"{workers}{suffix}" for workers in (1, 3)]
        for workers, output in zip((1, 3), outputs, strict=True):
            embed_file(request(records, output, workers=workers, pool="mean"))
        assert whole_hash(outputs[0]) == whole_hash(outputs[1])


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


def wait_for_chunk(job: subprocess.Popen[bytes], output: Path) -> None:
    before = set(output.glob("chunk-*"))
    while job.poll() is None and not set(output.glob("chunk-*")) - before:
        time.sleep(0.01)


def plan_of(store: Path) -> list[object]:
    return json.loads((store / "manifest.json").read_text())["chunks"]


def test_resumed_it_computes_only_what_is_missing(
    records, tmp_path, whole_hash, expected, monkeypatch
) -> None:
    output = tmp_path / "r.emb"
    count = 0

    def stop_at_fifth(*arguments: object) -> work.Receipt:
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        return work.run_chunk(*arguments)

    monkeypatch.setattr("riboswitch.jobs.embed.run_chunk", stop_at_fifth)
    with pytest.raises(KeyboardInterrupt):
        embed_file(request(records, output))
    with pytest.raises(riboswitch.StoreError, match="no finished embeddings"):
        riboswitch.open_embeddings(output)
    count = 100
    result = embed_file(request(records, output))
    assert count == 100 + len(result.plan.chunks) - 4
    assert whole_hash(output) == expected


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_chunk_that_is_not_what_was_written_is_computed_again(
    records, tmp_path, whole_hash, expected, monkeypatch, damage: str
) -> None:
    output = tmp_path / "d.emb"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("riboswitch.jobs.embed.commit", stop)
    with pytest.raises(KeyboardInterrupt):
        embed_file(request(records, output))
    monkeypatch.undo()
    chunk = output / "chunk-000001.safetensors"
    data = bytearray(chunk.read_bytes())
    data[-100] ^= 1
    if damage == "gone":
        chunk.unlink()
    else:
        chunk.write_bytes(data[:-10] if damage == "cut" else data)
    if damage == "flipped":
        with pytest.raises(riboswitch.StoreError, match="is not what was written"):
            embed_file(request(records, output))
        assert not (output / "manifest.json").exists()
    result = embed_file(request(records, output))
    assert 0 < result.computed_residues < result.plan.residues
    assert whole_hash(output) == expected


def test_a_result_that_lost_a_chunk_is_not_called_whole(records, tmp_path, expected) -> None:
    output = tmp_path / "whole.emb"
    chunk = output / "chunk-000000.safetensors"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(riboswitch.StoreError, match="missing or cut short"):
        riboswitch.open_embeddings(output)
    with pytest.raises(riboswitch.StoreError, match="missing or cut short"):
        embed_file(request(records, output))


def test_a_write_is_seen_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    seen = []
    with files.atomic(target, tmp_path) as file:
        file.write(b"new" * 1000)
        file.flush()
        seen.append(target.read_bytes())
    assert seen == [b"old"]
    assert target.read_bytes() == b"new" * 1000

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(riboswitch.ResourceError):
        files.write(target, b"newest", tmp_path)
    assert target.read_bytes() == b"new" * 1000
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_overwriting_takes_the_manifest_first(records, tmp_path, expected, monkeypatch) -> None:
    link = tmp_path / "link.emb"
    link.symlink_to(tmp_path / "whole.emb")
    removed = []
    real = Path.unlink

    def unlink(path: Path, **options: bool) -> None:
        removed.append(path.name)
        real(path, **options)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr("riboswitch.jobs.embed.run_chunk", stop)
    with pytest.raises(KeyboardInterrupt):
        embed_file(request(records, link, layer=0, overwrite=True))
    of_result = [name for name in removed if not name.endswith((".tmp", "plan.json"))]
    assert of_result[0] == "manifest.json"
    assert "chunk-000000.safetensors" in of_result
    with pytest.raises(riboswitch.StoreError, match="no finished embeddings"):
        riboswitch.open_embeddings(link)


@pytest.mark.parametrize("pool", [None, "mean"])
@pytest.mark.parametrize("content", ["not fasta\n", ">p\nMEFPQ\n", ""])
def test_a_bad_input_does_not_cost_the_earlier_result(
    records, tmp_path, whole_hash, pool, content: str
) -> None:
    output = tmp_path / ("k.npz" if pool else "k.emb")
    embed_file(request(records, output, pool=pool))
    before = whole_hash(output)
    records.write_text(content)
    with pytest.raises(riboswitch.RiboswitchError):
        embed_file(request(records, output, pool=pool, overwrite=True))
    assert whole_hash(output) == before
    assert {p.name for p in tmp_path.iterdir()} == {"in.fa", output.name}


def test_stdin_is_compared_with_the_unfinished_job(cli) -> None:
    texts = ["".join(f">{n}{i}\nACGUACGUAC\n" for i in range(50)) for n in "ab"]
    arguments = ["-", "-o", "s.emb", "--chunk-residues=100", "--json"]

    def stopped(text: str, *more: str) -> None:
        job = cli.start("embed", *arguments, *cli.small, *more, stdin=subprocess.PIPE)
        job.stdin.write(text)
        job.stdin.close()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not (cli.folder / "s.emb/.work/plan.json").exists():
            time.sleep(0.005)
        job.kill()
        job.stdout.close()
        job.stderr.close()
        job.wait()

    stopped(texts[0])
    if not (cli.folder / "s.emb" / "manifest.json").exists():
        other = cli.embed(*arguments, input=texts[1])
        assert (other.returncode, "other input" in other.stderr) == (2, True)
    again = cli.embed(*arguments, input=texts[0])
    assert again.returncode == 0, again.stderr
    anew = cli.embed(*arguments, "--overwrite", input=texts[1])
    assert anew.returncode == 0, anew.stderr
    assert riboswitch.open_embeddings(cli.folder / "s.emb").ids[0] == "b0"


@pytest.mark.parametrize("pool", [None, "mean"])
@pytest.mark.parametrize("content", ["not fasta\n", ">p\nMEFPQ\n"])
def test_a_bad_input_does_not_cost_an_unfinished_job(
    records, tmp_path, monkeypatch, pool, content: str
) -> None:
    output = tmp_path / ("u.npz" if pool else "u.emb")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("riboswitch.jobs.embed.commit", stop)
    with pytest.raises(KeyboardInterrupt):
        embed_file(request(records, output, pool=pool))
    monkeypatch.undo()
    if pool is None:
        (output / ".DS_Store").touch()
    good = records.read_text()
    records.write_text(content)
    with pytest.raises(riboswitch.RiboswitchError):
        embed_file(request(records, output, pool=pool, overwrite=True))
    records.write_text(good)
    assert embed_file(request(records, output, pool=pool)).computed_residues == 0


def test_a_job_never_computes_the_records_of_another_plan(records, tmp_path, monkeypatch) -> None:
    output, other = tmp_path / "p.emb", tmp_path / "other.fa"
    other.write_text(records.read_text().replace("A", "C"))  # as long, line for line
    model = riboswitch.load(**LOAD)
    real, calls = work.run_chunk, []

    def interfered(*arguments: object) -> work.Receipt:
        calls.append(1)
        if len(calls) == 2:
            settings = arguments[1].settings
            intruder = plan.plan(str(other), settings, model.entry, output / ".work")
            intruder.save(output / ".work")
        return real(*arguments)

    monkeypatch.setattr("riboswitch.jobs.embed.run_chunk", interfered)
    embed_file(request(records, output))
    for found, expected in zip(
        riboswitch.open_embeddings(output), model.embed(_sequences(records)), strict=True
    ):
        assert abs(found - expected).max() < 1e-5


def test_chunks_of_an_abandoned_job_do_not_stay(records, tmp_path) -> None:
    output = tmp_path / "a.emb"
    embed_file(request(records, output))
    (output / "manifest.json").unlink()
    records.write_text(">one\nACGU\n")
    embed_file(request(records, output))
    assert sorted(p.name for p in output.iterdir()) == ["chunk-000000.safetensors", "manifest.json"]


def test_a_folder_with_a_manifest_of_another_kind_is_left_alone(records, tmp_path) -> None:
    folder = tmp_path / "ext"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"name": "my extension"}')
    for overwrite in (False, True):
        with pytest.raises(riboswitch.UsageError, match="exists"):
            embed_file(request(records, folder, overwrite=overwrite))
    assert "my extension" in (folder / "manifest.json").read_text()


def _sequences(path: Path) -> list[str]:
    return ["".join(r.split("\n")[1:]) for r in path.read_text().split(">")[1:]]


def test_an_input_that_was_only_touched_is_the_same(records, tmp_path, monkeypatch) -> None:
    output = tmp_path / "touch.emb"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("riboswitch.jobs.embed.commit", stop)
    with pytest.raises(KeyboardInterrupt):
        embed_file(request(records, output))
    monkeypatch.undo()
    os.utime(records, (1, 1))
    assert embed_file(request(records, output)).computed_residues == 0


def test_workers_refuse_weights_that_changed_under_the_job(records, tmp_path) -> None:
    from riboswitch.jobs import pool

    model = riboswitch.load(**LOAD)
    from riboswitch.jobs.embed import make_settings

    settings = make_settings(request(records, tmp_path / "x.emb"), model)
    found = plan.plan(str(records), settings, model.entry, tmp_path / "work")
    found.save(tmp_path / "work")
    arguments = {**LOAD, "seed": 1}
    folders = (tmp_path / "work", tmp_path)
    with pytest.raises(riboswitch.StoreError, match="weights were changed"):
        list(pool.run_in_processes(arguments, folders, found.chunks[:2], 2))


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
    for worker in _children(job.pid):
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
    workers = _children(job.pid)
    job.kill()
    job.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(_alive(w) for w in workers):
        time.sleep(0.05)
    assert not [w for w in workers if _alive(w)]


def test_a_finished_job_given_again_is_left_as_it_is(records, tmp_path, whole_hash) -> None:
    output = tmp_path / "again.emb"
    embed_file(request(records, output))
    before = whole_hash(output), (output / "manifest.json").stat().st_mtime_ns
    again = embed_file(request(records, output))
    assert again.computed_residues == 0
    assert (whole_hash(output), (output / "manifest.json").stat().st_mtime_ns) == before


def test_a_stale_receipt_is_not_believed(records, tmp_path, whole_hash, monkeypatch) -> None:
    output = tmp_path / "s.emb"
    monkeypatch.setattr("riboswitch.jobs.commit.remove_folder", lambda _: None)
    embed_file(request(records, output))
    (output / ".work" / "plan.json").unlink()
    (output / "manifest.json").unlink()
    kept = output.rename(tmp_path / "kept")
    monkeypatch.undo()
    embed_file(request(records, tmp_path / "other.emb", layer=0))
    (tmp_path / "stale.emb").mkdir()
    (kept / ".work").rename(tmp_path / "stale.emb" / ".work")
    for chunk in kept.glob("chunk-*"):
        chunk.rename(tmp_path / "stale.emb" / chunk.name)
    embed_file(request(records, tmp_path / "stale.emb", layer=0))
    assert whole_hash(tmp_path / "stale.emb") == whole_hash(tmp_path / "other.emb")


@pytest.mark.parametrize("pool", [None, "mean"])
def test_another_job_does_not_touch_a_result_unless_told(records, tmp_path, pool) -> None:
    output = tmp_path / ("x.npz" if pool else "x.emb")
    embed_file(request(records, output, pool=pool))
    with pytest.raises(riboswitch.UsageError, match="another job's result"):
        embed_file(request(records, output, pool=pool, layer=0))
    records.write_text(">other\nACGU\n")
    with pytest.raises(riboswitch.UsageError, match="another job's result"):
        embed_file(request(records, output, pool=pool))
    embed_file(request(records, output, pool=pool, overwrite=True))
    assert riboswitch.open_embeddings(output).ids == ["other"]


def test_foreign_files_are_never_overwritten(records, tmp_path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    file = tmp_path / "mine.npz"
    file.write_text("other years of work")
    for output, pool in ((folder, None), (file, "mean")):
        with pytest.raises(riboswitch.UsageError, match="exists"):
            embed_file(request(records, output, pool=pool, overwrite=True))
    assert (folder / "thesis.tex").read_text() == "years of work"
    assert file.read_text() == "other years of work"


def test_an_unfinished_job_is_not_resumed_with_other_settings_or_input(
    records, tmp_path, monkeypatch
) -> None:
    output = tmp_path / "u.emb"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("riboswitch.jobs.embed.run_chunk", stop)
    with pytest.raises(KeyboardInterrupt):
        embed_file(request(records, output))
    monkeypatch.undo()
    with pytest.raises(riboswitch.UsageError, match="layer 1, not 0"):
        embed_file(request(records, output, layer=0))
    records.write_text(">other\nACGU\n")
    with pytest.raises(riboswitch.UsageError, match="other input"):
        embed_file(request(records, output))
    embed_file(request(records, output, overwrite=True))
    assert riboswitch.open_embeddings(output).ids == ["other"]


def test_chunks_are_a_pure_function_of_the_records(records, tmp_path) -> None:
    model = riboswitch.load(**LOAD)
    from riboswitch.jobs.embed import make_settings

    asked = request(records, tmp_path / "c.emb")
    settings = make_settings(asked, model)
    found = plan.plan(str(records), settings, model.entry, tmp_path / "work")
    read = [
        r for chunk in found.chunks for r in plan.chunk_records(found, tmp_path / "work", chunk)
    ]
    assert [r.ordinal for r in read] == list(range(1, 201))
    assert (
        sum(c.residues for c in found.chunks)
        == found.residues
        == sum(len(r.sequence) for r in read)
    )
    assert plan.survey(str(records), settings, model.entry).chunks == found.chunks
    assert all(c.residues >= 2000 for c in found.chunks[:-1])


def test_memory_does_not_grow_with_the_records(cli, records) -> None:
    text = records.read_text()
    peaks = []
    for copies in (2, 10):
        many = cli.write(f"{copies}.fa", text * copies)
        code = (
            "import resource, sys; from riboswitch.cli import main; main(sys.argv[1:]);"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        command = [*cli.command()[:1], "-c", code, "embed", many, "-o", f"{copies}.emb"]
        done = subprocess.run(
            [*map(str, command), *cli.small], cwd=cli.folder, capture_output=True, check=True
        )
        peaks.append(int(done.stdout))
    assert peaks[1] < peaks[0] * 1.1 + 4000  # kB


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    if not found.exists():
        pytest.skip("needs /proc to find the workers")
    names = {c: Path(f"/proc/{c}/cmdline").read_bytes() for c in found.read_text().split()}
    return [int(c) for c, line in names.items() if b"spawn_main" in line]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _has_pyarrow() -> bool:
    try:
        import pyarrow  # noqa: F401  # only whether it is there
    except ImportError:
        return False
    return True
