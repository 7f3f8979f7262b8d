"""What is claimed is what is run: `nox` runs all of it, `nox -l` lists it."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = "CI" in os.environ
nox.options.reuse_existing_virtualenvs = True
os.environ.setdefault("PIP_NO_COMPILE", "1")  # of a framework few modules are ever imported

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
OLDEST, *_ = PYTHONS
OTHER_PYTHONS = [python for python in PYTHONS if python != PYTHON]
TWO = ("-n", "2", "--dist", "loadfile")  # files side by side
BEYOND_THE_CORE = ["adapters", "contract", "conversion"]  # and what is marked so
EXAMPLES = ["riboswitch-jax", "riboswitch-splicebert"]
MYPY = "mypy==2.4.1"
PYPROJECT = nox.project.load_toml("pyproject.toml")
PROJECT, TESTED = PYPROJECT["project"], PYPROJECT["dependency-groups"]
EXTRAS = PROJECT["optional-dependencies"]
TEST = ["pytest", "pytest-xdist", "hypothesis", "pyarrow", *EXTRAS["pretrain"]]
FRAMEWORKS = {
    "numpy": [],
    # By pip: elsewhere this may bring gigabytes of CUDA.
    "torch": [*TESTED["tested-torch"], *TESTED["tested-distributed"]],
    "paddle": TESTED["tested-paddle"],
}
LOWEST = {
    # What pyproject.toml allows at least, of the base install and of each framework.
    name: [line.replace(">=", "==") for line in lines]
    for name, lines in {
        "numpy": PROJECT["dependencies"],
        "pretrain": EXTRAS["pretrain"],
        "torch": EXTRAS["distributed"],
        "paddle": EXTRAS["paddle"],
    }.items()
}
OF_A_FRAMEWORK = [
    *("parity", "contract/test_backends.py"),
    *("adapters/test_tensors.py", "adapters/test_tensor_frameworks.py"),
    "adapters/test_tensor_memory.py",
]
TRAINING = ["tests/training", "tests/contract/test_learners.py"]
ALL = [package for packages in FRAMEWORKS.values() for package in packages]
SITE = ["sphinx==9.0.4", "myst-parser==5.2.0", "sphinxcontrib-mermaid==2.1.1", "furo==2025.12.19"]
PEERS = {
    "paddlenlp": [
        *(*TESTED["tested-paddle"], *TESTED["tested-paddlenlp"]),
        *EXTRAS["paddlenlp"],  # which has the upper bounds that PaddleNLP lacks
    ],
    "torch": [*TESTED["tested-torch"], "rna-fm==0.2.2", "multimolecule==0.2.2"],
}


def disposed(run: Callable[..., None]) -> Callable[..., None]:
    """Where `CI` is set, remove the environment of a session that passed: all have 14 GB."""

    @functools.wraps(run)
    def session(session: nox.Session, *rest: str, **named: str) -> None:
        run(session, *rest, **named)
        if "CI" in os.environ:
            shutil.rmtree(session.virtualenv.location)

    return session


def _run_beside_training(session: nox.Session, *chosen: str, rest: Sequence[str]) -> None:
    """The rest, then the tests of training, each process of which has one core.

    With two, the threads of a framework wait for each other longer than they compute.
    """
    none = {"success_codes": [0, 5] if session.posargs else [0]}  # what is asked for is in one part
    pytest = ("pytest", *TWO, *chosen, *session.posargs)
    session.run(*pytest, *rest, **none)
    session.run(*pytest, *TRAINING, env={"OMP_NUM_THREADS": "1"}, **none)


@nox.session(python=PYTHON)
def lint(session: nox.Session) -> None:
    """Style, common mistakes, and who may import whom."""
    session.install("ruff==0.17.5", "import-linter", "-e", ".")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session(python=PYTHON)
def tests(session: nox.Session) -> None:
    """Everything that the base install can do, on NumPy 2."""
    session.install("-e", ".", *TEST)
    session.run("pytest", *TWO, "--require-backend=numpy", *session.posargs)


@nox.session(python=OTHER_PYTHONS)
def pythons(session: nox.Session) -> None:
    """The base install on the other Pythons; on the oldest with the lowest of all it needs.

    Without the slow ones, which `tests` has: those that kill jobs, run the documentation, read
    hostile files or test the contracts themselves. Above the oldest Python the core's are enough.
    """
    base = [*LOWEST["numpy"], *LOWEST["pretrain"], "pytest==8.0.0"]
    lowest = base if session.python == OLDEST else [*EXTRAS["pretrain"], "pytest"]
    session.install("-e", ".", "pytest-xdist", "hypothesis", *lowest)
    left = ["-m", "not slow"]
    if session.python != OLDEST:
        folders = [Path("tests", folder).resolve(strict=True) for folder in BEYOND_THE_CORE]
        left = ["-m", "not (slow or beyond_the_core)", *(f"--ignore={f}" for f in folders)]
    session.run("pytest", *TWO, "--require-backend=numpy", *left, *session.posargs)


@nox.session(python=PYTHON)
@nox.parametrize("backend", ["torch", "paddle"])
@disposed
def backend(session: nox.Session, backend: str) -> None:
    """One framework alone: what needs it must run; nothing that needs it may be skipped."""
    session.install("-e", ".", *TEST, *FRAMEWORKS[backend])
    chosen = (f"--require-backend={backend}", "-m", "framework")
    _run_beside_training(session, *chosen, rest=[f"--ignore={part}" for part in TRAINING])


@nox.session(python=OLDEST)
@nox.parametrize("backend", ["torch", "paddle"])
@disposed
def lowest(session: nox.Session, backend: str) -> None:
    """One framework alone, in its lowest version, with the lowest of all else."""
    lowest = [*LOWEST["numpy"], *LOWEST["pretrain"], *LOWEST[backend], "pytest==8.0.0"]
    session.install("-e", ".", "pytest-xdist", "hypothesis", *lowest)
    chosen = "framework and not stopped"  # `backend` has those
    if backend == "paddle":
        chosen += " and not paddle3"
    required = f"--require-backend={backend}"
    tests = [f"tests/{part}" for part in OF_A_FRAMEWORK]
    _run_beside_training(session, required, "-m", chosen, rest=tests)


@nox.session(python=PYTHON)
@disposed
def parity(session: nox.Session) -> None:
    """All frameworks in one process, and mypy, strict, on everything that is shipped."""
    session.install("-e", ".", *TEST, *ALL, "ml_dtypes", MYPY)
    session.run("mypy")
    required = "--require-backend=numpy,torch,paddle"
    _run_beside_training(session, required, "-m", "together", rest=["tests/parity"])


@nox.session(python=PYTHON)
@nox.parametrize("peer", list(PEERS))
@disposed
def peers(session: nox.Session, peer: str) -> None:
    """The programs that released the models: they load what we write, we load what they save."""
    session.install("-e", ".", *TEST, *PEERS[peer])
    required = "paddle,paddlenlp" if peer == "paddlenlp" else peer
    needed = {"RIBOSWITCH_REQUIRE_PEERS": "fm,multimolecule" if peer == "torch" else ""}
    tests = ("-m", f"peers_{peer}", "tests/peers", "tests/parity", "tests/contract")
    session.run("pytest", f"--require-backend={required}", *tests, *session.posargs, env=needed)
    if peer == "torch":  # what multimolecule stands on also holds the example's original
        package = "docs/examples/riboswitch-splicebert"
        session.install("--no-deps", f"./{package}")
        needed = {"RIBOSWITCH_REQUIRE_PEERS": "transformers"}
        session.run("pytest", f"{package}/tests/test_transformers.py", env=needed)


@nox.session(python=PYTHON)
@disposed
def examples(session: nox.Session) -> None:
    """What `docs/examples` has and the first hours make, installed as a stranger's would be."""
    if PYTHON == "3.10":
        session.skip("JAX needs Python 3.11")
    folders = [f"docs/examples/{package}" for package in EXAMPLES]
    installed = [f"./{folder}" for folder in folders]
    tools = ("pytest-xdist", "hypothesis", MYPY)
    session.install(".[testing]", *installed, *ALL, "jax==0.10.2", *tools)
    for package, folder in zip(EXAMPLES, folders, strict=True):
        module = package.replace("-", "_")
        session.run("mypy", f"--config-file={folder}/pyproject.toml", "-p", module)
        session.run("pytest", "-q", "-n", "2", folder, *session.posargs)
    session.run("python", "tests/example_backend.py")
    session.run("pytest", "tests/docs/test_first_hour.py", env={"RIBOSWITCH_EXAMPLES": "1"})


@nox.session(python=PYTHON)
def docs(session: nox.Session) -> None:
    """The documentation's site and reference; a link or a name that leads nowhere is an error."""
    if PYTHON == "3.10":
        session.skip("Sphinx needs Python 3.11")
    session.install("-e", ".[testing]", *SITE)
    strict = ("-W", "--keep-going", "-n", "-q", "-E")
    session.run("sphinx-build", *strict, "-c", "docs", ".", "build/docs")


@nox.session(python=PYTHON)
def wheel(session: nox.Session) -> None:
    """The README's first command, with the built wheel, in a clean environment."""
    session.install("build")
    dist = Path(session.create_tmp()) / "dist"
    session.run("python", "-m", "build", "--outdir", str(dist), ".", silent=True)
    session.run("python", "-m", "venv", "--clear", str(dist / "venv"))
    python = str(dist / "venv" / "bin" / "python")
    built = str(max(dist.glob("*.whl"), key=lambda path: path.stat().st_mtime))
    session.run(python, "-m", "pip", "install", "-q", built, external=True)
    session.run(python, "tests/first_command.py", external=True)


@nox.session(python=PYTHON, default=False)
@nox.parametrize("backend", ["numpy", "torch", "paddle"])
def stress(session: nox.Session, backend: str) -> None:
    """Twenty kills on real sequences, with one worker and with three; takes minutes."""
    session.install("-e", ".", *FRAMEWORKS[backend])
    for workers in ("1", "3"):
        session.run("python", "tests/stress_kill.py", backend, workers, *session.posargs)
