"""Packages that are broken: each is reported once, and harms nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests.core.installed import EMBED, GOOD, NUMPY, ODD, Site

NAMELESS = """
import riboswitch
from riboswitch.interfaces import ModelEntry

@riboswitch.impl
def riboswitch_models():
    return [object.__new__(ModelEntry)]
"""
BROKEN = {
    "fails to import": ("import no_such_module", "ModuleNotFoundError: No module named 'no_such"),
    "ends the process": ("raise SystemExit('bye')", "SystemExit: bye"),
    "is no Python": ("def (", "SyntaxError"),
    "speaks in colours": ("raise ValueError('\\x1b[31mred\\n' * 900)", "ValueError: ?[31mred ?[31"),
    "misspells a hook": (
        "import riboswitch\n@riboswitch.impl\ndef riboswitch_modles(): return []",
        "no hook 'riboswitch_modles'; did you mean ['riboswitch_models']?",
    ),
    "misspells an argument": (
        "import riboswitch\n@riboswitch.impl\ndef riboswitch_open_checkpoint(file): pass",
        "PluginValidationError",
    ),
    "forgets the mark": (
        "def riboswitch_models(): return []",
        "riboswitch_models is not marked as a hook: put @riboswitch.impl before it",
    ),
    "has no hook": ("x = 1", "implements no hook: it is no plugin"),
    "returns nothing": (
        "import riboswitch\n@riboswitch.impl\ndef riboswitch_models(): pass",
        "riboswitch_models: TypeError: 'NoneType' object is not iterable",
    ),
    "returns words": (
        "import riboswitch\n@riboswitch.impl\ndef riboswitch_layouts(): return ['mine']",
        "riboswitch_layouts: TypeError: expected a Layout, got str",
    ),
    "raises": (
        "import riboswitch\n@riboswitch.impl\ndef riboswitch_backends(): 1 / 0",
        "riboswitch_backends: ZeroDivisionError",
    ),
    "ends the process later": (
        "import riboswitch\n@riboswitch.impl\ndef riboswitch_models(): raise SystemExit(3)",
        "riboswitch_models: SystemExit: 3",
    ),
    "has a text for a list": (
        NUMPY.replace('("json",)', '"json"') % "load=print",
        "riboswitch_backends: TypeError",
    ),
    "loads nothing": (NUMPY % "load=None", "riboswitch_backends: NotCallableError"),
    "has a name with a line end": (
        NUMPY.replace('"odd"', r'"odd\nname"') % "load=print",
        "riboswitch_backends: ValueError",
    ),
    "has an entry point that is none": ("", "its entry point 'no module:' is no name of a module"),
    "cannot print its error": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
        "Odd",
    ),
    "makes an entry without values": (
        NAMELESS,
        "riboswitch_models: TypeError: a ModelEntry without a name",
    ),
    "needs what cannot be compared": ("", "UndefinedComparison"),
    "takes our name": (GOOD % "rnafm", "the name 'rnafm' is taken by the plugin 'models' of ribos"),
    "says one name twice": (
        (GOOD % "mine").replace("return [", "return 2 * ["),
        "the name 'mine' is taken by the plugin 'bad' of bad-package 1.5",
    ),
}
NAMES = {fault: f"bad{number:02}" for number, fault in enumerate(BROKEN)}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory) -> Site:
    """All broken plugins at once, and a good one among them."""
    site = Site(tmp_path_factory.mktemp("crowd"))
    for fault, (source, _) in BROKEN.items():
        unusual = ["riboswitch>=0.1; os_name ~= 'posix'"] if "compared" in fault else []
        site.add(NAMES[fault], source, *unusual)
        if "entry point" in fault:
            points = site.folder / f"{NAMES[fault]}_package-1.5.dist-info" / "entry_points.txt"
            points.write_text(f"[riboswitch]\n{NAMES[fault]} = no module:\n", "utf-8")
    site.add("good", GOOD % "fine")
    return site


@pytest.fixture(scope="module")
def listed(crowd) -> tuple[dict[str, dict[str, str]], str]:
    return crowd.listed()


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_plugin_is_reported_once(listed, fault):
    name, (plugins, said), problem = NAMES[fault], listed, BROKEN[fault][1]
    problem = problem.replace("bad", name)
    assert problem in plugins[name]["state"]
    assert (plugins[name]["package"], plugins[name]["version"]) == (f"{name}-package", "1.5")
    lines = said.splitlines()
    (first,) = [i for i, line in enumerate(lines) if f"warning: plugin '{name}' of {name}-" in line]
    assert problem in lines[first]
    cure = f"Update or uninstall {name}-package, or set RIBOSWITCH_DISABLE_PLUGINS={name}."
    assert lines[first + 1] == cure


def test_broken_plugins_harm_nobody(crowd, listed):
    plugins, said = listed
    assert len(said.splitlines()) == 2 * len(BROKEN)
    assert said.isascii()
    assert "\x1b" not in said
    others = {name: p["state"] for name, p in plugins.items() if name not in NAMES.values()}
    assert set(others.values()) == {"loaded"}
    assert {"models", "numpy", "good"} <= set(others)
    both = "import riboswitch; assert {'rnafm', 'fine'} <= set(riboswitch.models())\n" + EMBED
    done = crowd.run("-c", both)
    assert done.returncode == 0, done.stderr


def test_two_packages_with_one_problem_are_both_reported(site):
    site.add("bad", "import no_such_module")
    site.add("twin", "import no_such_module")
    plugins, said = site.listed()
    assert all("no_such_module" in plugins[name]["state"] for name in ("bad", "twin"))
    assert "bad-package 1.5" in said
    assert "twin-package 1.5" in said


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("open", "riboswitch_open_checkpoint: SystemExit: 7"),
        ("describe", "odd: SystemExit: 7"),
    ],
)
def test_what_ends_the_process_later_is_reported(site, tmp_path, part, said):
    hooks = {
        "open": "@riboswitch.impl\ndef riboswitch_open_checkpoint(path): exit(7)",
        "describe": (
            "from riboswitch.interfaces import Layout\n@riboswitch.impl\n"
            "def riboswitch_layouts():\n    return [Layout(name='odd', plain=str, "
            "describe=lambda c: exit(7), rules=lambda a, c: [])]"
        ),
    }
    site.add("bad", f"import riboswitch\n{hooks[part]}")
    code = (
        "from safetensors.numpy import save_file\nimport numpy, riboswitch, sys\n"
        "save_file({'x': numpy.zeros(2)}, sys.argv[1])\n"
        "if sys.argv[2] == 'open': open(sys.argv[1], 'wb').write(b'nobody knows it')\n"
        "try: riboswitch.load('rnafm', weights=sys.argv[1])\n"
        "except riboswitch.CheckpointError as error: print(error)"
    )
    done = site.run("-c", code, str(tmp_path / "x.safetensors"), part)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "plugin 'bad' of bad-package 1.5: " in done.stderr
    assert said in done.stderr


def test_two_packages_that_announce_one_plugin(site):
    site.add("good", GOOD % "fine")
    site.add("twin", GOOD % "other")
    points = site.folder / "twin_package-1.5.dist-info" / "entry_points.txt"
    points.write_text("[riboswitch]\ngood = twin_plugin\n", "utf-8")
    done = site.run("-m", "riboswitch", "plugins", "--json")
    found = [p for p in json.loads(done.stdout)["plugins"] if p["name"] == "good"]
    assert sorted(p["state"] == "loaded" for p in found) == [False, True]
    taken = "the name 'good' of its entry point is taken by the plugin 'good' of good-package 1.5."
    assert done.stderr.count(f"'good' of twin-package 1.5 is left out: {taken}") == 1
    assert done.stderr.endswith("or set RIBOSWITCH_DISABLE_PLUGINS=twin-package:good.\n")
    done = site.run("-m", "riboswitch", "plugins", RIBOSWITCH_DISABLE_PLUGINS="twin-package:good")
    assert done.stderr == ""


def test_a_distribution_whose_lists_cannot_be_read(site):
    site.add("bad", "")
    (site.folder / "bad_package-1.5.dist-info" / "entry_points.txt").write_text("[riboswitch]\nx")
    site.add("good", GOOD % "fine")
    plugins, said = site.listed()
    assert plugins["good"]["state"] == "loaded"
    assert "bad" not in plugins
    assert sys.version_info < (3, 11) or said.count("bad-package 1.5 cannot be read") == 1


def test_a_backend_that_starts_as_nonsense_is_named(site):
    site.add("bad", NUMPY % "load=lambda: 'odd'")
    done = site.run("-m", "riboswitch", "fill-mask", "A<mask>", *ODD)
    assert done.returncode == 2
    assert "'odd' of bad-package 1.5 fails to start: TypeError: its load returned" in done.stderr
    assert done.stderr.endswith("\nReinstall it: pip install odd\n")


@pytest.mark.parametrize("command", [["doctor"], ["fill-mask", "A<mask>", *ODD]])
def test_what_a_backend_prints_is_no_data(site, command):
    loud = "load=lambda: (print('Welcome!'), registry().backend('numpy'))[1]"
    source = "from riboswitch.registry import registry\n" + NUMPY % loud
    site.add("loud", source)
    done = site.run("-m", "riboswitch", *command, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == 1
    assert "Welcome!" in done.stderr


def test_an_opener_that_returns_nonsense_is_reported_once(site, tmp_path):
    source = "import riboswitch\n@riboswitch.impl\ndef riboswitch_open_checkpoint(path): return 5"
    site.add("bad", source)
    (tmp_path / "x.pt").write_bytes(b"nothing")
    code = (
        "import riboswitch\n"
        "for _ in range(3):\n"
        "    try: riboswitch.load('rnafm', weights='x.pt')\n"
        "    except riboswitch.CheckpointError: pass\n"
    )
    path = os.pathsep.join([str(site.folder), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stderr.count("expected a Checkpoint or None, got int") == 1


def test_workers_do_not_say_it_again(site, tmp_path):
    site.add("bad", "import no_such_module")
    (tmp_path / "two.fasta").write_text(">a\nACGU\n>b\nGGGA\n")
    sizes = [f"--architecture={s}" for s in ("num_layers=1", "hidden_size=40")]
    model = ["--model=rinalmo-nano", "--weights=random", "--backend=auto", *sizes]
    place = [str(tmp_path / "two.fasta"), "-o", str(tmp_path / "new.npz"), "--pool=mean"]
    done = site.run("-m", "riboswitch", "embed", *place, "--workers=2", *model)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no_such_module") == 1
