"""Read the files of a folder under watch and print what happened as JSON.

Run in a process of its own: `python hostile_watch.py FOLDER`. An audit hook notes what only
running code could cause; every file is read by every reader, once for the time and once for
the memory.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

from riboswitch.errors import RiboswitchError
from riboswitch_adapters.readers.lazy import LazyTensor
from riboswitch_adapters.readers.torch_files import (
    read_file,
    read_pdparams,
    read_safetensors,
    read_torch,
)

FORBIDDEN = ("os.", "subprocess.", "socket.", "ctypes.", "shutil.", "pickle.", "marshal.", "exec")
SAME = ("compile", "import", "code.__new__", "builtins.input", "webbrowser.open")
READERS = (read_file, read_torch, read_pdparams, read_safetensors)
EVENTS: list[str] = []
ARMED = [False]


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not ARMED[0]:
        return
    writes = event == "open" and (set(str(args[1])) & set("wxa+") or int(args[2]) & 3)
    if writes or event in SAME or event.startswith(FORBIDDEN):
        EVENTS.append(f"{event} {args!r:.80}")


def read_all(tree: object) -> None:
    """Read every tensor in a tree."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, LazyTensor):
            node.read()
        elif isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list | tuple):
            waiting.extend(node)


def _outcome(reader: Any, path: str) -> str:
    try:
        read_all(reader(path))
    except RiboswitchError as error:
        good = (
            str(error).startswith(path) and str(error).count("\n") == 1 and len(str(error)) < 1500
        )
        return "refused" if good else f"poor message: {str(error)[:300]!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    return "read"


def _watched(reader: Any, path: str) -> dict[str, Any]:
    EVENTS.clear()
    ARMED[0] = True
    start = time.process_time()  # not the clock: other tests may keep the machine busy
    outcome = _outcome(reader, path)
    seconds = time.process_time() - start
    ARMED[0] = False
    return {"outcome": outcome, "seconds": seconds, "events": list(EVENTS)}


def _peak(reader: Any, path: str) -> int:
    gc.collect()
    tracemalloc.start()
    _outcome(reader, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def _resident(key: str) -> int:
    """This process's memory, or the most it had; getrusage would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{key}:")[1].split()[0]) * 1024


def _growth(reader: Any, path: str) -> int:
    """By how much reading a file raises what the kernel counts."""
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    except OSError:  # not Linux: tracemalloc alone must do
        return 0
    before = _resident("VmRSS")
    _outcome(reader, path)
    return _resident("VmHWM") - before


def _report(folder: Path) -> dict[str, Any]:
    paths = sorted(folder.iterdir())
    for path in folder.glob("good*"):
        _outcome(read_file, str(path))
    gc.collect()
    gc.freeze()  # later collections need not look at the modules again
    found = {f"{p.name}:{r.__name__}": _watched(r, str(p)) for p in paths for r in READERS}
    for path in paths:
        grown, peak = _growth(read_file, str(path)), _peak(read_file, str(path))
        found[f"{path.name}:read_file"] |= {"peak": peak, "resident": grown}
    return found


def _control(path: Path) -> list[str]:
    """What the hook notes when a payload is given to pickle itself."""
    import pickle

    data = path.read_bytes()
    ARMED[0] = True
    pickle.loads(data)
    ARMED[0] = False
    return list(EVENTS)


if __name__ == "__main__":
    sys.addaudithook(_hook)
    target = Path(sys.argv[1])
    json.dump(_report(target) if target.is_dir() else _control(target), sys.stdout)
