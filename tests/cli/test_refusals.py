"""What the command line says of a backend that computes one model only."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize("weights", ["random", "released"])
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_embed_refuses_before_it_reads_a_record(cli, weights, more):
    cli.write("bad.fasta", "this is no FASTA file\n")
    options = ["--backend=paddlenlp", "--model=rnafm", f"--weights={weights}", *more]
    done = cli("embed", "bad.fasta", "-o", "out.emb", *options, env={"RIBOSWITCH_OFFLINE": "1"})
    assert done.returncode == 2, done.stderr
    assert "'paddlenlp' cannot compute this model" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Take one that can: ")
    assert [path.name for path in cli.folder.iterdir()] == ["bad.fasta"]


def test_doctor_says_which_models_a_backend_takes(cli):
    rows = json.loads(cli("doctor", "--json").stdout)["backends"]
    models = {row["name"]: row["models"] for row in rows}
    assert models["numpy"] == models["torch"] == models["paddle"] == "all"
    assert models["paddlenlp"] == "rnaernie"
    lines = cli("doctor").stdout.splitlines()
    titles = next(line for line in lines if line.startswith("backend "))
    row = next(line for line in lines if line.startswith("paddlenlp"))
    assert row[titles.index("models") :].startswith("rnaernie")
