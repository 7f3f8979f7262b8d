"""What `riboswitch embed` writes, says and refuses."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

import riboswitch

pytestmark = pytest.mark.beyond_the_core

FASTA = ">one first\nGGGAAACCC\n>two\nACGU\nACGU\n>one again\nggguuu\n"


def model() -> riboswitch.Model:
    sizes = {"num_layers": 1, "hidden_size": 40, "feed_forward_size": 80}
    return riboswitch.load("rinalmo-nano", weights="random", backend="numpy", architecture=sizes)


EXPECTED = ["GGGAAACCC", "ACGUACGU", "ggguuu"]


def test_store_holds_what_the_api_computes_in_order_with_duplicates(cli) -> None:
    cli.write("in.fa", FASTA)
    done = cli.embed("in.fa", "-o", "out.emb")
    assert done.returncode == 0, done.stderr
    store = riboswitch.open_embeddings(cli.folder / "out.emb")
    assert store.ids == ["one", "two", "one"]
    assert len(store) == 3
    for found, expected in zip(store, model().embed(EXPECTED), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(store["two"], store[1])
    assert store.positions("one") == [0, 2]
    with pytest.raises(riboswitch.StoreError, match="2 records 'one'"):
        store["one"]
    with pytest.raises(riboswitch.StoreError, match="no record 'three'"):
        store["three"]
    with pytest.raises(IndexError):
        store[3]
    np.testing.assert_array_equal(store[-1], store[2])
    assert store.manifest["model"] == "rinalmo-nano"
    assert store.manifest["backend"] == "numpy"
    assert store.manifest["dtype"] == "float32"
    assert len(store.manifest["weights_sha256"]) == 64


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ""])
@pytest.mark.parametrize("pool", ["mean", "max", "cls"])
def test_pooled_files(cli, suffix: str, pool: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="the extra `parquet`")
    cli.write("in.fa", FASTA)
    done = cli.embed("in.fa", "-o", f"out{suffix}", "--pool", pool)
    assert done.returncode == 0, done.stderr
    found = riboswitch.open_embeddings(cli.folder / f"out{suffix}")
    np.testing.assert_allclose(np.stack(list(found)), model().embed(EXPECTED, pool=pool), atol=1e-6)
    assert [name for name, _ in found.items()] == ["one", "two", "one"]
    assert found.manifest["pool"] == pool
    assert sorted(p.name for p in cli.folder.iterdir()) == ["in.fa", f"out{suffix}"]


def test_npz_opens_with_numpy_alone(cli) -> None:
    cli.write("in.fa", FASTA)
    cli.embed("in.fa", "-o", "out.npz", "--pool", "mean")
    with np.load(cli.folder / "out.npz", allow_pickle=False) as archive:
        assert archive["ids"].tolist() == ["one", "two", "one"]
        assert archive["embeddings"].shape == (3, 40)
        assert json.loads(str(archive["manifest"]))["records"] == 3


FASTQ = "".join(f"@{i}\n{s}\n+\n{'I' * len(s)}\n" for i, s in (("a", "ACGU"), ("b", "GGGCCC")))


@pytest.mark.parametrize(
    ("name", "content", "ids"),
    [
        ("crlf.fa", FASTA.replace("\n", "\r\n"), ["one", "two", "one"]),
        ("plain.fq", FASTQ, ["a", "b"]),
        ("packed.fa.gz", gzip.compress(FASTA.encode()), ["one", "two", "one"]),
        ("packed.fq.gz", gzip.compress(FASTQ.encode()), ["a", "b"]),
        ("misnamed.txt", gzip.compress(FASTA.encode()), ["one", "two", "one"]),
        ("members.gz", gzip.compress(b">a\nAC") + gzip.compress(b"GU\n>b\nGG\n"), ["a", "b"]),
        ("spaces.fa", ">a x\n ACGU ACGU \n\n>b\nAC\n", ["a", "b"]),
        ("path.fa", ">../../etc/passwd\nACGU\n", ["../../etc/passwd"]),
        ("tab.fa", ">id\tmore\nACGU\n", ["id"]),
        ("utf8.fa", ">naïve\nACGU\n", ["naïve"]),
        ("noid.fa", ">\nACGU\n", [""]),
        ("latin1.fa", b">caf\xe9\nACGU\n>b\nAC\n", ["caf\\xe9", "b"]),
        ("bom.fa", b"\xef\xbb\xbf>a\nACGU\n", ["a"]),
    ],
)
def test_inputs_that_are_right(cli, name: str, content: str | bytes, ids: list[str]) -> None:
    cli.write(name, content)
    done = cli.embed(name, "-o", "out.emb")
    assert done.returncode == 0, done.stderr
    assert riboswitch.open_embeddings(cli.folder / "out.emb").ids == ids
    assert {p.name for p in cli.folder.iterdir()} == {name, "out.emb"}


def test_stdin(cli) -> None:
    done = cli.embed("-", "-o", "out.emb", input=FASTA)
    assert done.returncode == 0, done.stderr
    assert len(riboswitch.open_embeddings(cli.folder / "out.emb")) == 3


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.fa", b"", "has no records"),
        ("blank.fa", b"\n\n", "has no records"),
        ("headless.fa", b"ACGUACGU\n", "no FASTA"),
        ("cut.fa.gz", gzip.compress(FASTA.encode() * 99)[:-20], "truncated gzip"),
        ("broken.fa.gz", gzip.compress(FASTA.encode())[:12] + b"\xff" * 40, "damaged"),
        ("image.png", b"\x89PNG\r\n\x1a\n\x00\x00", "no "),
        ("cut.fq", FASTQ.encode()[:-6], "no FASTA or FASTQ"),
        ("utf16.fa", FASTA.encode("utf-16"), "no "),
    ],
)
def test_files_that_cannot_be_read(cli, name: str, content: bytes, says: str) -> None:
    cli.write(name, content)
    done = cli.embed(name, "-o", "out.emb")
    assert done.returncode == 4, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(riboswitch.StoreError):
        riboswitch.open_embeddings(cli.folder / "out.emb")


BAD = {
    "protein": (">bad\nMEFPQLELEPE\n", "letters that no RNA has"),
    "empty": (">bad\n>next\nACGU\n", "it is empty"),
    "nul": (">bad\nAC\0GU\n", r"'\x00' 1"),
    "long id": (f">{'x' * 10000}\nACGU\n", "more than 1024 bytes"),
    "control": (">b\x07d\nACGU\n", "unprintable"),
    "digits": (">bad\n1 ACGU 10\n", "'1' 2"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_record_is_listed_and_the_others_are_written(cli, kind: str) -> None:
    content, reason = BAD[kind]
    cli.write("in.fa", f">first\nACGU\n{content}>last\nGGG\n")
    done = cli.embed("in.fa", "-o", "out.emb", "--json")
    assert done.returncode == 3, done.stderr
    summary = json.loads(done.stdout)
    written = riboswitch.open_embeddings(cli.folder / "out.emb")
    assert summary["records"] == len(written) + summary["failed"]
    assert summary["failed"] == 1
    assert {"first", "last"} <= set(written.ids)
    rows = (cli.folder / "out.emb" / "failed.tsv").read_text("utf-8").splitlines()
    assert rows[0] == "ordinal\tid\treason"
    ordinal, name, why = rows[1].split("\t")
    assert (ordinal, len(rows), len(name) < 300) == ("2", 2, True)
    assert reason in why
    assert "failed.tsv" in done.stderr


def test_pooled_failures_lie_beside_the_file_and_go_with_a_better_run(cli) -> None:
    cli.write("in.fa", ">a\nACGU\n>b\n\n")
    assert cli.embed("in.fa", "-o", "o.npz", "--pool=mean").returncode == 3
    assert (cli.folder / "o.npz.failed.tsv").exists()
    cli.write("in.fa", ">a\nACGU\n>b\nAC\n")
    done = cli.embed("in.fa", "-o", "o.npz", "--pool=mean", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert not (cli.folder / "o.npz.failed.tsv").exists()


@pytest.mark.parametrize("option", [[], ["--strict"]])
def test_nothing_is_written_when_all_fail_or_under_strict(cli, option: list[str]) -> None:
    good = ">good\nACGU\n" if option else ""
    cli.write("in.fa", f"{good}>bad\nMEFPQ\n")
    done = cli.embed("in.fa", "-o", "out.npz", "--pool=mean", *option)
    assert done.returncode == 3
    assert "bad" in done.stderr
    assert not (cli.folder / "out.npz").exists()
    assert "MEFPQ" not in (cli.folder / "out.npz.failed.tsv").read_text("utf-8")


def test_a_record_longer_than_the_model_needs_a_window(cli) -> None:
    cli.write("in.fa", f">long\n{'ACGU' * 300}\n>short\nACGU\n")
    options = ["--model=rnafm", "--weights=random", "--backend=numpy"]
    options += ["--architecture=num_layers=1", "--architecture=hidden_size=40"]
    done = cli("embed", "in.fa", "-o", "out.emb", *options)
    assert done.returncode == 3
    reason = (cli.folder / "out.emb" / "failed.tsv").read_text("utf-8")
    assert "1200 residues" in reason
    assert "window=1022" in reason
    done = cli("embed", "in.fa", "-o", "cut.emb", "--window=1022", *options)
    assert done.returncode == 0, done.stderr
    assert riboswitch.open_embeddings(cli.folder / "cut.emb")["long"].shape == (1200, 40)


def test_codons_need_whole_triplets(cli) -> None:
    cli.write("in.fa", ">good\nAUGUAA\n>bad\nAUGUA\n")
    options = ["--model=mrnafm", "--weights=random", "--backend=numpy"]
    options += ["--architecture=num_layers=1", "--architecture=hidden_size=40"]
    done = cli("embed", "in.fa", "-o", "out.emb", *options)
    assert done.returncode == 3
    assert "divisible by 3" in (cli.folder / "out.emb" / "failed.tsv").read_text("utf-8")
    assert riboswitch.open_embeddings(cli.folder / "out.emb")["good"].shape == (2, 40)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--backend=nmpy"], "Did you mean 'numpy'?"),
        (["--model=rnafn"], "Did you mean 'rnafm'?"),
        (["--dtype=float8"], "cannot compute in 'float8'"),
        (["--device=tpu"], "no device 'tpu'"),
        (["--layer=7"], "no layer 7"),
        (["--window=1"], "too short"),
        (["--prompt=tRNA"], "no type prompts"),
        (["--pool=median"], "invalid choice"),
        (["--pool=mean", "-o", "x.csv"], "not .csv"),
        (["-o", "x.npz"], "go into a folder"),
        (["-o", "nowhere/x.emb"], "is no folder"),
        (["--architecture=heads=4"], "no 'heads'"),
        (["--architecture=num_heads=7"], "do not divide"),
        (["--workers=0"], "must be positive"),
        (["--weights=released"], "ever released"),
        (["--architecture=norm_eps=abc"], "norm_eps is 'abc', and must be a number"),
        (["--architecture=num_heads=true"], "num_heads is True, and must be a whole"),
        (["--architecture=num_layers=99999999"], "num_layers is 99999999, and must be"),
        (["--architecture=vocab_size=5"], "5 embeddings for an alphabet"),
        (["--architecture=rotary_base=0"], "rotary_base is 0, and must be"),
        (["--seed=99999999999999999999999"], "seed lies between"),
        (["-o", "-"], "cannot go to stdout"),
    ],
)
def test_wrong_use_is_found_before_the_input_is_read(cli, arguments: list[str], says: str) -> None:
    broken = cli.write("broken.fa", b"")  # reading it would be exit code 4
    done = cli("embed", broken, "-o", "out.emb", *cli.small, *arguments)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert {p.name for p in cli.folder.iterdir()} == {"broken.fa"}


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "model_state.pdparams", "a.safetensors"])
def test_a_file_that_is_no_checkpoint(cli, name: str) -> None:
    cli.write("in.fa", FASTA)
    cli.write(name, b"<html>not found</html>")
    done = cli("embed", "in.fa", "-o", "out.emb", "--model=rnafm", f"--weights={name}")
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert not (cli.folder / "out.emb").exists()


def test_a_missing_input_and_missing_weights(cli) -> None:
    assert cli.embed("none.fa", "-o", "out.emb").returncode == 4
    cli.write("in.fa", FASTA)
    done = cli("embed", "in.fa", "-o", "out.emb", "--model=rnafm", "--weights=none.pth")
    assert (done.returncode, "does not exist" in done.stderr) == (4, True)
    env = {"RIBOSWITCH_CACHE": str(cli.folder / "cache")}
    done = cli("embed", "in.fa", "-o", "out.emb", "--model=rnafm", env=env)
    assert done.returncode == 4
    assert str(Path("cache") / "rnafm" / "RNA-FM_pretrained.pth") in done.stderr


def test_unknown_letters_are_counted_in_one_warning(cli) -> None:
    cli.write("in.fa", ">a\nACGUNN\n>b\nACGUN-\n")
    options = ["--model=rnaernie", "--weights=random", "--backend=numpy"]
    options += ["--architecture=num_layers=1", "--architecture=hidden_size=48"]
    done = cli("embed", "in.fa", "-o", "out.emb", "--json", *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["unknown"] == {"N": 3, "-": 1}
    assert done.stderr.count("became") == 1
    assert "4 letters became [UNK]: 'N' 3, '-' 1" in done.stderr


def test_dry_run_says_what_it_would_take_and_writes_nothing(cli) -> None:
    cli.write("in.fa", FASTA)
    done = cli.embed("in.fa", "-o", "out.emb", "--dry-run", "--json")
    found = json.loads(done.stdout)
    assert (found["records"], found["residues"], found["tokens"]) == (3, 23, 29)
    assert found["disk"] == 23 * 40 * 4
    assert found["seconds"] > 0
    assert found["memory"] > 0
    assert {p.name for p in cli.folder.iterdir()} == {"in.fa"}
    text = cli.embed("in.fa", "-o", "out.emb", "--dry-run").stdout
    for word in ("tokens", "padding", "memory", "disk", "time"):
        assert word in text


def test_a_dry_run_counts_windows_and_long_records(cli) -> None:
    cli.write("in.fa", f">a\n{'ACGU' * 200}\n")
    done = cli.embed("in.fa", "-o", "o.emb", "--dry-run", "--json", "--window=100")
    assert json.loads(done.stdout)["tokens"] == 15 * 102
    cli.write("long.fa", f">a\n{'ACGU' * 5000}\n")
    done = cli.embed("long.fa", "-o", "o.emb", "--dry-run", "--json")
    assert json.loads(done.stdout)["memory"] > 2 * 4 * 20000**2


def test_a_dry_run_of_a_short_model(cli) -> None:
    cli.write("in.fa", FASTA)
    options = ["--model=rnaernie", "--weights=random", "--backend=numpy"]
    options += ["--architecture=num_layers=1", "--architecture=max_positions=16"]
    done = cli("embed", "in.fa", "-o", "o.emb", "--dry-run", *options)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("damage", ["npy", "flipped", "cut"])
def test_damaged_pooled_files_are_one_clear_error(cli, damage: str) -> None:
    cli.write("in.fa", FASTA)
    cli.embed("in.fa", "-o", "out.npz", "--pool", "mean")
    path = cli.folder / "out.npz"
    data = bytearray(path.read_bytes())
    if damage == "npy":
        np.save(path.with_suffix(".npy"), np.zeros(3))
        path = path.with_suffix(".npy")
    else:
        place = data.index(b"NUMPY", data.index(b"embeddings.npy")) + 200
        data[place] ^= 1
        path.write_bytes(data if damage == "flipped" else data[: len(data) // 2])
    with pytest.raises(riboswitch.StoreError):
        riboswitch.open_embeddings(path)[0]


def test_a_name_that_no_disk_takes(cli) -> None:
    cli.write("in.fa", FASTA)
    done = cli.embed("in.fa", "-o", "x" * 300)
    assert done.returncode == 2
    assert "File name too long" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_stdout_is_exit_code_5(cli) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("w") as full:
        done = cli("models", stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert done.returncode == 5
    assert "Traceback" not in done.stderr


def test_stdout_has_data_only_and_no_escape_codes(cli) -> None:
    cli.write("in.fa", FASTA)
    done = cli.embed("in.fa", "-o", "out.emb")
    assert done.stdout == ""
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr
    assert "3 of 3 records" in done.stderr
    assert cli.embed("in.fa", "-o", "quiet.emb", "--quiet").stderr == ""
