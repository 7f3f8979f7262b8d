"""How many cores there are to use."""

from __future__ import annotations

import os


def num_cores() -> int:
    """Cores that this process may use; `OMP_NUM_THREADS` lowers it."""
    have = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(have, int(asked))) if asked.isdigit() else have
