"""YAML files that users write: read, and checked for keys that nobody knows."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from riboswitch.errors import UsageError


def loaded_yaml(path: Path) -> Any:
    """Read a YAML file; an empty one is an empty mapping."""
    try:
        import yaml
    except ImportError as error:
        raise UsageError(
            "it needs PyYAML, which is not installed.\n"
            'Install it: pip install "riboswitch[pretrain]"'
        ) from error
    try:
        values = yaml.load(path.read_text("utf-8"), _loader())  # noqa: S506  # a safe one
    except (OSError, ValueError, yaml.YAMLError) as error:  # a number of thousands of digits too
        raise UsageError(f"it cannot be read as YAML: {error}") from error
    return {} if values is None else values


def _loader() -> Any:
    """PyYAML's safe loader, but a key that stands twice is an error."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            if twice := [key for key in keys if keys.count(key) > 1]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {twice[0]!r} stands twice", node.start_mark
                )
            return dict(super().construct_mapping(node, deep))

    return Loader


def as_number(value: Any) -> Any:
    """A number that YAML takes for a text, such as 1e-4; anything else stays what it is."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def named(values: object, what: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Check that something is a mapping with no other keys than these; the nearest is named."""
    if not isinstance(values, dict):
        raise UsageError(f"{what} must be keys with values, not {values!r}.")
    for key in values:
        if key not in keys:
            raise UsageError(
                f"{what} has the unknown key {key!r}.{nearest(str(key), keys)}\n"
                f"The keys are: {', '.join(keys)}."
            )
    return values


def nearest(word: str, words: Iterable[str]) -> str:
    """Ask whether the word of some that is most like another one was meant, if one is."""
    near = get_close_matches(word, list(words), 1, 0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
