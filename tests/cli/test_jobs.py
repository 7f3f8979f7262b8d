"""A job is cut into chunks, and goes on where it stopped."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.cli.small_jobs import LOAD, request

import riboswitch
from riboswitch.jobs import plan, work
from riboswitch.jobs.embed import Result, embed_file

pytestmark = pytest.mark.slow


def stop(*_: object) -> None:
    raise KeyboardInterrupt


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


def test_stdin_is_compared_with_the_unfinished_job(tmp_path, monkeypatch) -> None:
    output = tmp_path / "s.emb"

    def embed(name: str, **options: object) -> Result:
        text = "".join(f">{name}{i}\nACGUACGUAC\n" for i in range(50))
        stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(text.encode())))
        monkeypatch.setattr("sys.stdin", stdin)
        return embed_file(request(Path("-"), output, chunk_residues=100, **options))

    with monkeypatch.context() as patch:
        patch.setattr("riboswitch.jobs.embed.commit", stop)
        with pytest.raises(KeyboardInterrupt):
            embed("a")
    with pytest.raises(riboswitch.UsageError, match="other input"):
        embed("b")
    assert embed("a").computed_residues == 0
    embed("b", overwrite=True)
    assert riboswitch.open_embeddings(output).ids[0] == "b0"


@pytest.mark.parametrize("pool", [None, "mean"])
@pytest.mark.parametrize("content", ["not fasta\n", ">p\nMEFPQ\n"])
def test_a_bad_input_does_not_cost_an_unfinished_job(
    records, tmp_path, monkeypatch, pool, content: str
) -> None:
    output = tmp_path / ("u.npz" if pool else "u.emb")
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


def _sequences(path: Path) -> list[str]:
    return ["".join(r.split("\n")[1:]) for r in path.read_text().split(">")[1:]]


def test_an_input_that_was_only_touched_is_the_same(records, tmp_path, monkeypatch) -> None:
    output = tmp_path / "touch.emb"
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


def test_an_unfinished_job_is_not_resumed_with_other_settings_or_input(
    records, tmp_path, monkeypatch
) -> None:
    output = tmp_path / "u.emb"
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


def _has_pyarrow() -> bool:
    try:
        import pyarrow  # noqa: F401  # only whether it is there
    except ImportError:
        return False
    return True
