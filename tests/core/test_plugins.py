"""Packages that work: whole, slow, many, disabled, and of other versions."""

from __future__ import annotations

import pytest
from tests.core.installed import EMBED, GOOD, NUMPY


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
