"""A packed corpus is not taken for another one, and files are opened before one is read."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path

import pytest
from attrs import evolve
from tests.training.runs import losses, random_rna, write_fasta

from riboswitch.errors import RiboswitchWarning, SequenceError, UsageError
from riboswitch.registry import registry
from riboswitch.training import provenance
from riboswitch.training.corpus import Source
from riboswitch.training.packing import pack
from riboswitch.training.pretrain import pretrain
from riboswitch.training.provenance import check_content, check_same

ALPHABET = registry().model("rnaernie").alphabet


@pytest.fixture
def packed(tmp_path, fasta):
    """A corpus of a file and one to exclude, and what it was packed from."""
    paths = [fasta(name, random_rna(9, seed=i)) for i, name in enumerate(("a.fa", "b.fa"))]
    source = Source(files=paths[:1], exclude=paths[1:])
    return pack(source, ALPHABET, tmp_path / "corpus"), source


def other_letters(path: str) -> None:
    """Change a file, but not its size."""
    text = Path(path).read_text()
    Path(path).write_text(text[:-2] + ("A" if text[-2] != "A" else "C") + "\n")


def check(packed, *, begun):
    corpus, source = packed
    check_same(corpus, source, ALPHABET, Path("run"))
    check_content(corpus, source, Path("run"), begun=begun)


@pytest.mark.parametrize("kind", ["files", "exclude"])
@pytest.mark.parametrize("begun", [False, True])
def test_another_content_of_the_same_size_is_refused(packed, begun, kind):
    (path,) = getattr(packed[1], kind)
    other_letters(path)
    os.utime(path, ns=(0, 5))
    with pytest.raises(UsageError, match=r"packed from another .*\.fa: the SHA-256 of that was"):
        check(packed, begun=begun)


@pytest.mark.parametrize("begun", [False, True])
def test_a_file_that_was_touched_alone_passes(packed, begun):
    for path in (*packed[1].files, *packed[1].exclude):
        os.utime(path, ns=(0, 5))
    check(packed, begun=begun)


def test_what_was_last_written_at_the_same_time_is_not_read_again(packed, monkeypatch):
    read = []
    monkeypatch.setattr(provenance, "_hash", lambda file: read.append(file))
    check(packed, begun=True)
    assert read == []
    check(packed, begun=False)
    assert read == [*packed[1].files, *packed[1].exclude]


def test_a_corpus_of_before_times_were_noted(packed):
    corpus, source = packed
    about = json.loads(json.dumps(corpus.about))
    for note in (*about["source"]["files"], *about["source"]["exclude"]):
        del note["mtime_ns"]
    old = evolve(corpus, about=about)
    check((old, source), begun=True)
    other_letters(source.files[0])
    with pytest.raises(UsageError, match="packed from another"):
        check((old, source), begun=True)


@pytest.mark.parametrize("kind", ["files", "exclude"])
def test_files_of_one_name_are_told_apart_by_their_place(tmp_path, kind):
    """Once one of them is gone."""
    paths = []
    for i in range(3):
        (tmp_path / str(i)).mkdir()
        paths.append(str(write_fasta(tmp_path / str(i) / "a.fa", random_rna(5 + i, seed=i))))
    names = {"files": paths} if kind == "files" else {"files": paths[:1], "exclude": paths[1:]}
    source = Source(**names, held_out=0)
    corpus = pack(source, ALPHABET, tmp_path / "corpus")
    Path(paths[1]).unlink()
    check((corpus, source), begun=True)
    Path(paths[2]).unlink()
    check((corpus, source), begun=True)
    Path(paths[1]).write_text(Path(paths[0]).read_text())
    with pytest.raises(UsageError, match=rf"its {kind} \d\.size is"):
        check((corpus, source), begun=True)


@pytest.mark.backend("torch")
def test_a_run_does_not_go_on_with_another_corpus(request_for):
    request = request_for("torch", save_every=3)
    before = pretrain(evolve(request, steps=8))
    other_letters(request.source.files[0])
    with pytest.raises(UsageError, match="packed from another"):
        pretrain(request)
    assert before.steps == 8


@pytest.mark.backend("torch")
def test_stdin_is_read_once(request_for, monkeypatch, tmp_path):
    data = Path(request_for("torch").source.files[0]).read_bytes()

    def piped() -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))

    def interrupted(done, *_: object) -> None:
        if done == at:
            raise KeyboardInterrupt

    request = request_for("torch")
    request = evolve(request, source=evolve(request.source, files=("-",)))
    for at in (2, 5):
        piped()
        with pytest.raises(KeyboardInterrupt):
            pretrain(evolve(request, output=tmp_path / str(at)), interrupted)
    piped()
    with pytest.raises(UsageError, match="is packed already, and whether stdin has the same"):
        pretrain(evolve(request, output=tmp_path / "2"))
    with pytest.warns(RiboswitchWarning, match="stdin is not read: the run goes on with what is"):
        assert pretrain(evolve(request, output=tmp_path / "5")).steps == 8
    assert len(losses(tmp_path / "5")) == 10


@pytest.mark.parametrize("kind", ["files", "exclude"])
def test_a_file_that_is_missing_is_told_before_any_is_read(fasta, tmp_path, monkeypatch, kind):
    there, gone = fasta("a.fa", random_rna(9)), str(tmp_path / "none.fa")
    names = {"files": (there, gone)} if kind == "files" else {"files": (there,), "exclude": (gone,)}
    monkeypatch.setattr("riboswitch.training.packing.read_records", lambda _: pytest.fail("read"))
    with pytest.raises(SequenceError, match=r"none\.fa cannot be read"):
        pack(Source(**names), ALPHABET, tmp_path / "corpus")


def test_a_folder_is_no_file(fasta, tmp_path):
    source = Source(files=(fasta("a.fa", random_rna(9)), str(tmp_path)))
    with pytest.raises(SequenceError, match=r"cannot be read: .*directory"):
        pack(source, ALPHABET, tmp_path / "corpus")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_read_and_not_opened_before(tmp_path):
    import threading

    data = write_fasta(tmp_path / "a.fa", random_rna(9)).read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    source = Source(files=(str(pipe),), held_out=0)
    corpus = pack(source, ALPHABET, tmp_path / "corpus")
    writer.join(10)
    assert len(corpus) == 9 and corpus.about["files"] == [["pipe", None]]
    named = re.escape(str(pipe))
    with pytest.raises(UsageError, match=f"is packed already, and whether {named} has the same"):
        check((corpus, source), begun=False)
    with pytest.warns(RiboswitchWarning, match=f"{named} is not read: the run goes on with"):
        check((corpus, source), begun=True)
