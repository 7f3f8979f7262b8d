"""What a job leaves in its folder, and what it never touches."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tests.cli.small_jobs import request

import riboswitch
from riboswitch import files
from riboswitch.jobs.embed import embed_file

pytestmark = pytest.mark.slow


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
