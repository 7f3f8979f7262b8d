"""Small models and files for the command line's tests."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.small_jobs import request

from riboswitch.jobs.embed import embed_file

SMALL = [
    "--model=rinalmo-nano",
    "--weights=random",
    "--backend=numpy",
    "--architecture=num_layers=1",
    "--architecture=hidden_size=40",
    "--architecture=feed_forward_size=80",
]
SAMPLE = Path(__file__).parent.parent / "data" / "rnacentral_sample.fasta.gz"


class Cli:
    """Runs the command line in a process of its own, as a user does."""

    small = SMALL
    sample = SAMPLE

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "riboswitch", *map(str, arguments)]

    def start(self, *arguments: object, **options: object) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(self.command(*arguments), cwd=self.folder, **{**pipes, **options})

    def __call__(self, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        usual = {"capture_output": True, "text": True, "timeout": 120, "check": False}
        environment = {**os.environ, **options.pop("env", {})}
        return subprocess.run(
            self.command(*arguments), cwd=self.folder, env=environment, **{**usual, **options}
        )

    def embed(self, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        return self("embed", *arguments, *SMALL, **options)

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def whole_hash():
    """SHA-256 over every name and byte of a result, file or folder."""

    def hashed(path: Path) -> str:
        digest = hashlib.sha256()
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            digest.update(str(file.relative_to(path)).encode())
            digest.update(file.read_bytes() if file.is_file() else b"")
        return digest.hexdigest()

    return hashed


@pytest.fixture
def records(cli) -> Path:
    """A few hundred real sequences."""
    lines = gzip.decompress(cli.sample.read_bytes()).decode().split(">")[1:201]
    return cli.write("in.fa", "".join(f">{record}" for record in lines))


@pytest.fixture
def expected(records: Path, tmp_path: Path, whole_hash) -> str:
    embed_file(request(records, tmp_path / "whole.emb"))
    return whole_hash(tmp_path / "whole.emb")
