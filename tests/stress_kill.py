"""Kill `riboswitch embed` twenty times at random moments, on 1,400 real sequences.

    python tests/stress_kill.py [BACKEND] [WORKERS] [KILLS]

Not collected by pytest, because it takes minutes; `nox -s stress` runs it. Fails unless every
resumed job ends in the bytes of an undisturbed one and no finished chunk was computed again.
"""

import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLE = Path(__file__).parent / "data" / "rnacentral_sample.fasta.gz"
SMALL = ["num_layers=1", "hidden_size=40", "feed_forward_size=80"]


def main(backend: str = "numpy", workers: str = "1", kills: str = "20") -> None:
    """Run the job undisturbed, then killed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        subprocess.run(command(folder / "whole", backend, workers), check=True)
        seconds, expected = time.perf_counter() - start, fingerprint(folder / "whole")
        rng, done, again, finished = random.Random(0), 0, 0, 0
        while done < int(kills):
            output = folder / f"killed-{finished}"
            before = chunks(output)
            job = subprocess.Popen(command(output, backend, workers))
            time.sleep(rng.uniform(0.05, 0.5 * seconds))
            if job.poll() is None:
                job.send_signal(signal.SIGKILL)
                done += 1
            job.wait()
            again += len(rewritten(before, chunks(output), output))
            if (output / "manifest.json").exists():
                finished += complete(output, backend, workers, expected)
        complete(folder / f"killed-{finished}", backend, workers, expected)
        assert again == 0, f"{again} finished chunks were computed again"
        print(f"{backend}, {workers} workers: {done} kills, {finished + 1} results, all {expected}")


def command(output: Path, backend: str, workers: str) -> list[str]:
    """The job, on a small architecture."""
    options = [f"--architecture={size}" for size in SMALL]
    options += ["--model=rinalmo-nano", "--weights=random", "--quiet", f"--backend={backend}"]
    options += [f"--workers={workers}", "--chunk-residues=8000"]
    return [sys.executable, "-m", "riboswitch", "embed", str(SAMPLE), "-o", str(output), *options]


def complete(output: Path, backend: str, workers: str, expected: str) -> int:
    """Let the job end, and compare."""
    subprocess.run(command(output, backend, workers), check=True)
    found = fingerprint(output)
    assert found == expected, f"{output}: {found}, not {expected}"
    return 1


def chunks(output: Path) -> dict[str, int]:
    """When each chunk that has a receipt was written."""
    found = {}
    for receipt in output.glob(".work/receipt-*.json"):
        chunk = output / receipt.name.replace("receipt", "chunk").replace("json", "safetensors")
        found[chunk.name] = chunk.stat().st_mtime_ns
    return found


def rewritten(before: dict[str, int], after: dict[str, int], output: Path) -> list[str]:
    """Chunks that were whole and were written again all the same."""
    return [n for n, t in before.items() if n in after and (output / n).stat().st_mtime_ns != t]


def fingerprint(output: Path) -> str:
    """SHA-256 over every name and byte."""
    digest = hashlib.sha256()
    for path in sorted(output.rglob("*")):
        digest.update(str(path.relative_to(output)).encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


if __name__ == "__main__":
    main(*sys.argv[1:])
