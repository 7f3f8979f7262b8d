"""The model that is to be trained: a registered one, or one that a YAML file describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from attrs import evolve

from riboswitch.architecture import Architecture
from riboswitch.errors import UsageError
from riboswitch.interfaces import ModelEntry
from riboswitch.masking.files import RECIPES
from riboswitch.opening import misfit
from riboswitch.optimization import Optimization, Pretraining
from riboswitch.registry import registry
from riboswitch.yaml_files import as_number, loaded_yaml, named

_KEYS = ("name", "like", "architecture", "recipe", "optimization", "initial")


def model_entry(name_or_path: str) -> ModelEntry:
    """Return a model that has no weights yet.

    Args:
        name_or_path: A registered model, or a YAML file with `like`, the registered model whose
            alphabet it has and that says what the file does not; `name`; `architecture`, keys of
            `Architecture`; `recipe`, a name or a path from the file's own folder on;
            `optimization`, keys of `Optimization`; and `initial`, how wide random weights are
            drawn.

    Raises:
        UsageError: There is no such model or file, or the file says something that it cannot;
            the key and the nearest right one are named.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        return registry().model(name_or_path)
    if not path.is_file():
        raise UsageError(f"there is no file {name_or_path!r}.")
    try:
        return _entry(named(loaded_yaml(path), "the file", _KEYS), path)
    except (UsageError, ValueError, TypeError) as error:
        said = error.args[0] if error.args else error  # attrs gives tuples
        raise UsageError(f"model {path}: {said}") from error


def _entry(said: dict[str, Any], path: Path) -> ModelEntry:
    if "like" not in said:
        raise UsageError("the key like is missing: the registered model that it resembles.")
    base = registry().model(str(said["like"]))
    sizes = named(said.get("architecture", {}), "architecture", _fields(Architecture))
    architecture = base.architecture.evolve(_numbers(sizes))
    if problem := misfit(architecture, base.alphabet):
        raise UsageError(problem)
    changes = named(said.get("optimization", {}), "optimization", _fields(Optimization))
    plan = Pretraining(
        recipe=_recipe(said.get("recipe", base.pretraining.recipe), path.parent),
        optimization=base.pretraining.optimization.changed(**_numbers(changes)),
        initial=said.get("initial", base.pretraining.initial),
    )
    return evolve(
        base,
        name=said.get("name", path.stem),
        architecture=architecture,
        licence="yours",
        source="trained by riboswitch pretrain",
        released=None,
        pretraining=plan,
    )


def _recipe(said: Any, folder: Path) -> Any:
    """A recipe's name as it is, and a path from the folder of the file that names it."""
    return said if not isinstance(said, str) or said in RECIPES else str(folder / said)


def _numbers(said: dict[str, Any]) -> dict[str, Any]:
    return {key: as_number(value) for key, value in said.items()}


def _fields(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(kind))
