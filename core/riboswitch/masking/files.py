"""`recipe`: a recipe by its name or from a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from riboswitch.errors import UsageError
from riboswitch.masking.motifs import SHIPPED, Motifs
from riboswitch.masking.recipes import STRATEGIES, Recipe
from riboswitch.yaml_files import as_number, loaded_yaml, named, nearest

RECIPES: dict[str, dict[str, Any]] = {
    "bert": {},
    "rnaernie": {
        "strategies": {"nucleotide": 1, "span": 1, "motif": 1},
        "motifs": {"known": ["attract", "spliceaid"], "statistical": ["statistics"]},
        "predict_type": True,
    },
}
"""The recipes that come with the package, as a file would say them."""
_KEYS = ("rate", "mask", "random", "keep", "strategies", "spans", "motifs", "predict_type")


def recipe(name_or_path: str | Path) -> Recipe:
    """Return a recipe for masking.

    Args:
        name_or_path: `bert`: single tokens (Devlin et al. 2019); `rnaernie`: single tokens,
            spans or motifs, one of them for each sequence (Wang et al. 2024); or the path of a
            YAML file, whose keys are the attributes of `Recipe`.

    Raises:
        UsageError: There is no such recipe or file, or the file says something that it cannot;
            the key and the nearest right one are named.
    """
    if isinstance(name_or_path, str) and name_or_path in RECIPES:
        return _recipe(RECIPES[name_or_path], None)
    path = Path(name_or_path)
    if not path.is_file():
        near = nearest(path.name, RECIPES)
        raise UsageError(
            f"no recipe {str(name_or_path)!r}, neither as a name nor as a file.{near}\n"
            f"The recipes are: {', '.join(RECIPES)}; or give the path of a YAML file."
        )
    try:
        return _recipe(named(loaded_yaml(path), "the file", _KEYS), path.parent)
    except UsageError as error:
        raise UsageError(f"recipe {path}: {error}") from error


def _recipe(values: dict[str, Any], folder: Path | None) -> Recipe:
    arguments = {key: as_number(value) for key, value in values.items()}
    if "strategies" in values:
        named(values["strategies"], "strategies", STRATEGIES)
    for key in ("strategies", "spans"):
        if isinstance(values.get(key), dict):
            arguments[key] = {name: as_number(weight) for name, weight in values[key].items()}
    if "motifs" in values:
        arguments["motifs"] = _motifs(values["motifs"], folder)
    return Recipe(**arguments)


def _motifs(values: object, folder: Path | None) -> Motifs:
    lists = named(values, "motifs", ("known", "statistical"))
    for key, names in lists.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UsageError(
                f"motifs.{key} is {names!r}, and must be a list of files.\n"
                f"Those that come along are: {', '.join(SHIPPED)}."
            )
    return Motifs.read(lists.get("known", ()), lists.get("statistical", ()), folder)
