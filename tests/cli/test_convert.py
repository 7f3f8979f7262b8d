"""`riboswitch convert` as a user types it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from riboswitch.cli import _parser, main
from riboswitch.registry import registry


@pytest.fixture
def source(fixtures, tmp_path) -> Path:
    shutil.copytree(fixtures / "rnaernie", tmp_path / "rnaernie")
    return tmp_path / "rnaernie"


def run(*arguments: object) -> int:
    return main(["convert", *map(str, arguments)])


def test_a_report_to_read(source, tmp_path, capsys) -> None:
    assert run(source, tmp_path / "new", "--to", "multimolecule", "--verify") == 0
    out, err = capsys.readouterr()
    assert f"{source} (rnaernie) -> {tmp_path / 'new'} (multimolecule)" in out
    assert "lost         30 tokens of the vocabulary: [DEL] [IND]" in out
    assert "difference   representation 0, logits 0" in out
    assert "tRNA tmRNA" in err.replace("telomeraseRNA ", "") and "vaultRNA" in err
    assert "N R Y S W" in err


def test_a_report_for_programs(source, tmp_path, capsys) -> None:
    assert run(source, tmp_path / "new", "--to", "multimolecule", "--verify", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["version"] == 1
    assert report["difference"] == {"representation": 0.0, "logits": 0.0}
    assert len(report["lost"][0].split()) == 35
    assert report["borrowed"]["N"] == "[UNK]"
    assert run(tmp_path / "new", tmp_path / "own", "--to", "riboswitch", "--json") == 0
    assert json.loads(capsys.readouterr().out)["weights_sha256"] == report["weights_sha256"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{source}", "{tmp}/new", "--to", "rnaerni"], 2, "Did you mean 'rnaernie'"),
        (["{source}", "{source}", "--to", "riboswitch"], 2, "is there already"),
        (["{tmp}/absent", "{tmp}/new", "--to", "riboswitch"], 4, "does not exist"),
        (["{source}", "{tmp}/new", "--to", "rinalmo"], 4, "of the family 'rnaernie'"),
        (["{source}", "{tmp}/new", "--to", "rnafm", "--architecture", "x"], 2, "KEY=VALUE"),
        (["{source}/vocab_1MER.txt", "{tmp}/new", "--to", "rnaernie"], 4, "no checkpoint"),
    ],
)
def test_errors(arguments, code, message, source, tmp_path, capsys) -> None:
    texts = [a.format(source=source, tmp=tmp_path) for a in arguments]
    assert run(*texts) == code
    out, err = capsys.readouterr()
    assert message in err
    assert not out
    assert not (tmp_path / "new").exists()


def test_a_full_disk_is_exit_code_5(source, tmp_path) -> None:
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000));"
    code += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    code += "from riboswitch.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "convert", str(source), str(tmp_path / "new")]
    done = subprocess.run(
        [*command, "--to", "riboswitch"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 5, done.stderr
    assert "Free some space" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["rnaernie"]  # noqa: PTH208  # names


def test_the_help_names_every_layout() -> None:
    subparsers = next(a for a in _parser()._actions if isinstance(a.choices, dict))
    text = " ".join(subparsers.choices["convert"].format_help().split())
    written = [name for name, layout in registry().layouts.items() if layout.form]
    assert f"{', '.join(written)} or a plugin's" in text


def test_other_heads_are_given(fixtures, tmp_path, capsys) -> None:
    weights = fixtures / "rnafm_ss" / "RNA-FM_SS-ResNet.pth"
    options = ("--to", "riboswitch", "--architecture", "num_heads=4")
    assert run(weights, tmp_path / "new", *options) == 0
    config = json.loads((tmp_path / "new" / "riboswitch.json").read_text())
    assert config["architecture"]["num_heads"] == 4
    assert "downstream_modules" in capsys.readouterr().err
