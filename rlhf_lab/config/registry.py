"""The options of every config group: a schema for each, whose values stand in `conf/<group>/<option>.yaml`.

Importing `rlhf_lab.config` imports all of its modules, so that `GROUPS` holds every option that they name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

Schema = TypeVar("Schema", bound=type)

# Groups whose options are sizes and the like: the fields tell the class.
NAMED_BY_VALUES = ("model", "rm", "task")
# group -> name -> schema. The decorator below fills it, in the order in which the classes are defined.
GROUPS: dict[str, dict[str, type]] = {}


def option(group: str, name: str) -> Callable[[Schema], Schema]:
    """Register the decorated dataclass, so that YAML names it as `/schema/<group>@_here_: <name>`.

    It stands above `@dataclass(slots=True)`, which makes a new class. Other packages use it too (docs/extending.md).
    """

    def register(schema: Schema) -> Schema:
        """Enter the schema under its group and name, and return it unchanged."""
        GROUPS.setdefault(group, {})[name] = schema
        return schema

    return register


def named(kind: str) -> type:
    """Return the registered class of the name `kind`; KeyError if there is none."""
    return {schema.__name__: schema for schemas in GROUPS.values() for schema in schemas.values()}[kind]


def classes(config: Any, path: str = "") -> Iterator[tuple[str, type]]:
    """Yield the path of every option in `config`, such as `labeler` or `rm.model`, with its registered class."""
    options = {schema for schemas in GROUPS.values() for schema in schemas.values()}
    parts = (
        config if isinstance(config, Mapping) else {x.name: getattr(config, x.name) for x in fields(config)}
    )
    for name, value in parts.items():
        here = f"{path}{name}"
        if type(value) in options:
            yield here, type(value)
        if is_dataclass(value) or isinstance(value, Mapping):
            yield from classes(value, f"{here}.")


def lineage(schema: type) -> tuple[str, ...]:
    """Return the name of an option's class, then those of the classes that it inherits from."""
    return tuple(parent.__name__ for parent in schema.__mro__ if is_dataclass(parent))


def schema_of(group: str, option: str, section: Mapping[str, Any]) -> type | None:
    """Return the class of an option of which only its name and its values are known; None where they do not tell.

    Options such as sizes have names of their own; their class is the one with the fewest fields that has theirs.
    """
    schemas = GROUPS.get(group, {})
    if option in schemas or group not in NAMED_BY_VALUES:
        return schemas.get(option)
    if not section:
        return None
    counts = {
        schema: len(fields(schema))
        for schema in schemas.values()
        if set(section) <= {field.name for field in fields(schema)}
    }
    fewest = [schema for schema, count in counts.items() if count == min(counts.values())]
    return fewest[0] if len(fewest) == 1 else None
