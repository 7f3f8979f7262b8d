"""Draw what a run's log says: `python docs/benchmarks/curves.py run/log.jsonl curves.svg`.

    pip install matplotlib

Two panels over the epochs: the loss of masked nucleotides, and the share of types that are told
right. Dots are held-out sequences; the lines are those trained on, the mean over twenty lines of
the log. Both know only masked sequences.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

from riboswitch.training.log import read_log

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "riboswitch"  # the same file each time

from matplotlib import pyplot as plt  # noqa: E402  # once the backend is set

PANELS = (
    ("mlm", "loss of masked nucleotides, nats", np.log(4), "chance"),
    ("accuracy_type", "share of types told right", None, ""),
)


def main() -> None:
    """Draw both panels."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("log")
    parser.add_argument("output")
    parser.add_argument("--epochs", type=float, required=True, help="of the whole run")
    arguments = parser.parse_args()
    lines = read_log(Path(arguments.log))
    share = arguments.epochs / max(line["step"] for line in lines)
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axes, (key, label, level, name) in zip(panels, PANELS, strict=True):
        for kind, style in (("train", "-"), ("held_out", "o")):
            mine = [line for line in lines if line["kind"] == kind and key in line]
            if not mine:
                continue
            x, y = np.array([(line["step"] * share, line[key]) for line in mine]).T
            if kind == "train":
                window = np.ones(min(20, len(x))) / min(20, len(x))
                x, y = (np.convolve(v, window, "valid") for v in (x, y))
            axes.plot(x, y, style, label=kind.replace("_", " "), markersize=4)
        if level is not None:
            axes.axhline(level, color="grey", linestyle=":", label=name)
        axes.set(xlabel="epochs", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(arguments.output, metadata={"Date": None})


if __name__ == "__main__":
    main()
