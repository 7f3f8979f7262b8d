"""The small commands, and what holds for all of them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time

import pytest

COMMANDS = ("embed", "fetch", "fill-mask", "models", "plugins", "doctor")


def test_models_plugins_and_doctor_name_what_is_here(cli) -> None:
    models = json.loads(cli("models", "--json").stdout)["models"]
    wanted = ["rnafm", "mrnafm", "rinalmo-giga", "rinalmo-mega", "rinalmo-micro", "rinalmo-nano"]
    assert {*wanted, "rnaernie"} <= {m["name"] for m in models}
    assert all(m["licence"] for m in models)
    plugins = json.loads(cli("plugins", "--json").stdout)["plugins"]
    assert {"numpy", "torch", "paddle", "models", "adapters"} <= {p["name"] for p in plugins}
    assert {p["state"] for p in plugins} == {"loaded"}
    doctor = json.loads(cli("doctor", "--json").stdout)
    states = {b["name"]: b["state"] for b in doctor["backends"]}
    assert states["numpy"] == "works"
    assert states[doctor["auto"]] == "works"
    for row in doctor["backends"]:
        assert row["state"] == "works" or "pip install" in row["cure"]
    for name in ("models", "plugins", "doctor"):
        text = cli(name).stdout
        assert len(text.splitlines()) > 3
        assert "\x1b" not in text


def test_fill_mask(cli) -> None:
    done = cli("fill-mask", "GGG<mask>AAA", *cli.small, "--json", "--top=3")
    fills = json.loads(done.stdout)["fills"]
    assert len(fills) == 3
    for fill in fills:
        assert fill["sequence"] == f"GGG{fill['token']}AAA"
    assert cli("fill-mask", "GGGAAA", *cli.small).returncode == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_of_the_help_parses(cli, command: str) -> None:
    from riboswitch.cli import _parser

    text = cli(command, "--help").stdout
    examples = re.findall(r"riboswitch (.+)", text.partition("examples:")[2])
    assert examples
    for example in examples:
        _parser().parse_args(shlex.split(example))


def test_help_is_quick_and_loads_no_framework(cli) -> None:
    code = (
        "import sys, time; start = time.perf_counter()\n"
        "from riboswitch.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(time.perf_counter() - start, file=sys.stderr)\n"
        "heavy = {'torch', 'paddle', 'dnaio', 'tqdm', 'safetensors', 'requests', 'pooch'}\n"
        "assert not heavy & set(sys.modules)"
    )
    seconds = []
    for _ in range(5):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds.append(float(done.stderr))
    assert min(seconds) < 0.3


def test_interrupt_is_130_and_says_how_to_go_on(cli) -> None:
    job = cli.start("embed", cli.sample, "-o", "out.emb", *cli.small, "--chunk-residues=500")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(cli.folder.glob("out.emb/chunk-*")):
        time.sleep(0.02)
    job.terminate()
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 130, errors
    assert "goes on where it was" in errors
    assert "Traceback" not in errors


def test_a_reader_that_goes_away_is_no_error(cli) -> None:
    job = cli.start("models")
    job.stdout.close()
    job.wait(60)
    errors = job.stderr.read()
    job.stderr.close()
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors
