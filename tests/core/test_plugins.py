"""Packages that are really installed, in a folder of their own: whole, broken, slow and many."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

GOOD = """
from attrs import evolve
import riboswitch
from riboswitch.registry import registry

@riboswitch.impl
def riboswitch_models():
    return [evolve(registry().models["rnafm"], name="%s")]
"""
NUMPY = """
import riboswitch
from riboswitch.interfaces import BackendEntry

@riboswitch.impl
def riboswitch_backends():
    return [BackendEntry(name="odd", requires=("json",), install="pip install odd", %s)]
"""
NAMELESS = """
import riboswitch
from riboswitch.interfaces import ModelEntry

@riboswitch.impl
def riboswitch_models():
    return [object.__new__(ModelEntry)]
"""
EMBED = (
    "import riboswitch\n"
    "small = dict(num_layers=1, hidden_size=8, num_heads=2, feed_forward_size=8)\n"
    "model = riboswitch.load('rnafm', backend='numpy', weights='random', architecture=small)\n"
    "assert model.embed(['ACGU'])[0].shape == (4, 8)\n"
)


ODD = ("--model=rnafm", "--backend=odd", "--weights=random")


class Site:
    """A folder of installed packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, source: str, *requires: str, version: str = "1.5") -> None:
        """Install a package of one module, which announces one plugin."""
        (self.folder / f"{name}_plugin.py").write_text(source, "utf-8")
        info = self.folder / f"{name}_package-{version}.dist-info"
        info.mkdir()
        wanted = "".join(f"Requires-Dist: {line}\n" for line in requires)
        about = f"Metadata-Version: 2.1\nName: {name}-package\nVersion: {version}\n{wanted}"
        (info / "METADATA").write_text(about, "utf-8")
        (info / "entry_points.txt").write_text(f"[riboswitch]\n{name} = {name}_plugin\n", "utf-8")

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self.folder), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, **variables}
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def listed(self, **variables: str) -> tuple[dict[str, dict[str, str]], str]:
        """What `riboswitch plugins` prints, by name, and what it warns of."""
        done = self.run("-m", "riboswitch", "plugins", "--json", **variables)
        assert done.returncode == 0, done.stderr
        return {p["name"]: p for p in json.loads(done.stdout)["plugins"]}, done.stderr


@pytest.fixture
def site(tmp_path) -> Site:
    return Site(tmp_path)


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


def test_a_disabled_plugin_is_not_imported_and_nothing_is_said_of_it(site):
    site.add("bad", "import no_such_module")
    plugins, said = site.listed(RIBOSWITCH_DISABLE_PLUGINS=" , bad")
    assert (plugins["bad"]["state"], said) == ("disabled", "")


@pytest.mark.parametrize(
    "wanted", ["riboswitch<0.1", "riboswitch>=1,<2", "Riboswitch>=1; python_version>'3'"]
)
def test_a_plugin_for_another_version_is_not_imported(site, wanted):
    site.add("bad", "raise AssertionError('it was imported')", "no requirement!", wanted)
    plugins, said = site.listed()
    asked = wanted[len("riboswitch") :].partition(";")[0]
    assert "made for riboswitch " in plugins["bad"]["state"]
    for part in asked.split(","):
        assert part in plugins["bad"]["state"]
    assert "and this is 0." in said
    assert "\nUpdate bad-package or riboswitch, or set " in said


@pytest.mark.parametrize(
    "wanted",
    ["riboswitch", "riboswitch>=0.1,<1", "riboswitch>=9; extra=='test'", "riboswitch[torch]>=0.0"],
)
def test_a_plugin_for_this_version_is_loaded(site, wanted):
    site.add("good", GOOD % "fine", "numpy", wanted)
    plugins, said = site.listed()
    assert plugins["good"]["state"] == "loaded"
    assert said == ""


def test_a_slow_plugin_is_named_and_used(site):
    site.add("slow", "import time; time.sleep(1.05)" + GOOD % "late")
    plugins, said = site.listed()
    assert plugins["slow"]["state"] == "loaded"
    assert plugins["slow"]["seconds"] > 1
    assert "plugin 'slow' of slow-package 1.5 is slow: it took 1." in said
    assert said.count("slow-package") == 1
    assert said.endswith("\nTell its author, or set RIBOSWITCH_DISABLE_PLUGINS=slow.\n")
    assert "late" in site.run("-m", "riboswitch", "models").stdout


def test_a_slow_announcement_is_named_too(site):
    hook = "return [evolve"
    site.add("slow", (GOOD % "late").replace(hook, "import time; time.sleep(1.05); " + hook))
    assert "plugin 'slow' of slow-package 1.5 is slow" in site.listed()[1]


def test_a_slow_plugin_is_not_lost_where_warnings_are_errors(site):
    site.add("slow", "import time; time.sleep(1.05)" + GOOD % "late")
    code = (
        "import riboswitch\n"
        "try: riboswitch.models()\n"
        "except riboswitch.RiboswitchWarning as error: assert 'is slow' in str(error)\n"
        "else: raise AssertionError\n"
        "assert 'late' in riboswitch.models() and 'rnafm' in riboswitch.models()"
    )
    done = site.run("-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr


def test_what_a_plugin_prints_is_no_data(site):
    site.add("loud", "print('hello')" + (GOOD % "fine").replace("return", "print('you'); return"))
    plugins, said = site.listed()
    assert (plugins["loud"]["state"], said) == ("loaded", "hello\nyou\n")


def test_a_plugin_that_asks_for_everything_while_it_is_imported_loses_nothing(site):
    every = "from riboswitch.registry import registry\nlen(registry().backends)\n"
    more = "len(registry().layouts)\n" + GOOD % "fine" + (NUMPY % "load=print")
    site.add("curious", every + more)
    site.add("later", GOOD % "more")
    code = (
        "from riboswitch.registry import registry\n"
        "assert {'fine', 'more', 'rnafm'} <= {*registry().models}\n"
        "assert {'odd', 'numpy'} <= {*registry().backends}"
    )
    done = site.run("-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr


def test_a_plugin_cannot_disable_others(site):
    site.add("bad", "import os; os.environ['RIBOSWITCH_DISABLE_PLUGINS'] = 'good'" + GOOD % "odd")
    site.add("good", GOOD % "fine")
    assert site.listed()[0]["good"]["state"] == "loaded"


def test_disabling_what_is_not_there_is_said(site):
    said = site.listed(RIBOSWITCH_DISABLE_PLUGINS="nmpy")[1]
    assert "RIBOSWITCH_DISABLE_PLUGINS names no plugin: nmpy.\nThere are: adapters, models" in said


@pytest.mark.parametrize(
    ("disabled", "command", "said"),
    [
        ("models", ["rnafm", "numpy"], "There is no model 'rnafm'.\nPlugins left out: models (dis"),
        ("numpy", ["rnafm", "numpy"], "There is no backend 'numpy'.\nPlugins left out: numpy (dis"),
    ],
)
def test_what_misses_a_plugin_that_is_left_out_says_so(site, disabled, command, said):
    model, backend = command
    options = [f"--model={model}", f"--backend={backend}", "--weights=random"]
    place = {"RIBOSWITCH_DISABLE_PLUGINS": disabled}
    done = site.run("-m", "riboswitch", "fill-mask", "A<mask>", *options, **place)
    assert done.returncode == 2
    assert said in done.stderr


def test_two_packages_with_one_problem_are_both_reported(site):
    site.add("bad", "import no_such_module")
    site.add("twin", "import no_such_module")
    points = site.folder / "twin_package-1.5.dist-info" / "entry_points.txt"
    points.write_text("[riboswitch]\nbad = twin_plugin\n", "utf-8")
    done = site.run("-m", "riboswitch", "plugins", "--json")
    states = [p["state"] for p in json.loads(done.stdout)["plugins"] if p["name"] == "bad"]
    assert len(states) == 2
    assert all("no_such_module" in state for state in states)
    assert "bad-package 1.5" in done.stderr
    assert "twin-package 1.5" in done.stderr


THREADS = """
import threading
import riboswitch.registry as module
barrier, found, errors = threading.Barrier(6), [], []

def ask(i):
    barrier.wait()
    registry = module.registry()
    entries = (registry.models, registry.layouts, registry.backends)[i % 3]
    found.append((id(registry), i % 3, [name for name in entries]))

threads = [threading.Thread(target=ask, args=[i], daemon=True) for i in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join(20)
assert len(found) == 6, "somebody waits for ever"
assert len({one[0] for one in found}) == 1, "there are several registries"
for kind in range(3):
    first, second = (names for _, k, names in found if k == kind)
    assert first == second and len(first) > 3, (first, second)
"""


def test_threads_see_one_registry_and_all_of_it(site):
    asking = "import riboswitch, time; riboswitch.models(); time.sleep(0.2)"
    site.add("asks", asking + GOOD % "late")
    for _ in range(3):
        done = site.run("-c", THREADS)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""


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
    assert done.stderr.count("-package 1.5") == 1


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


def test_fifty_plugins_cost_nothing_until_they_are_asked(site):
    for i in range(50):
        site.add(f"dummy{i:02}", GOOD % f"dummy{i:02}")
    timed = (
        "import time; start = time.perf_counter()\n"
        "import riboswitch; print(time.perf_counter() - start)"
    )
    assert min(float(site.run("-c", timed).stdout) for _ in range(5)) < 0.15
    count = "import sys; print(sum(n.startswith('dummy') for n in sys.modules))"
    assert site.run("-c", EMBED + count).stdout == "0\n"
    known = "import riboswitch; riboswitch.registry.registry().model('dummy07')\n"
    assert site.run("-c", "import riboswitch.registry\n" + known + count).stdout == "8\n"
    every = "import riboswitch; assert 'dummy49' in riboswitch.models()\n"
    assert site.run("-c", every + count).stdout == "50\n"


def test_a_model_and_a_backend_by_name_import_no_other_plugin(site):
    for name in ("first", "second"):
        site.add(name, "raise AssertionError('it was imported')")
    done = site.run("-W", "error", "-c", EMBED)
    assert (done.returncode, done.stderr) == (0, "")
