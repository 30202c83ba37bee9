"""The options of every config group: a schema for each, whose values stand in `conf/<group>/<option>.yaml`.

Importing `rlhf_lab.config` imports all of its modules, so that `GROUPS` holds every option that they name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Schema = TypeVar("Schema", bound=type)

GROUPS: dict[str, dict[str, type]] = {}  # group -> option -> schema


def option(group: str, name: str) -> Callable[[Schema], Schema]:
    """Return a decorator that makes a dataclass the option `name` of a config group."""

    def decorate(schema: Schema) -> Schema:
        register(group, name, schema)
        return schema

    return decorate


def register(group: str, name: str, schema: type) -> None:
    """Make `schema` available to YAML as `/schema/<group>@_here_: name` (see docs/extending.md)."""
    GROUPS.setdefault(group, {})[name] = schema


def named(kind: str) -> type:
    """Return the class of an option by the name of the class; KeyError if there is none."""
    return {schema.__name__: schema for schemas in GROUPS.values() for schema in schemas.values()}[kind]
