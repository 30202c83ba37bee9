"""The options of every config group: a schema for each, whose values stand in `conf/<group>/<option>.yaml`.

Importing `rlhf_lab.config` imports all of its modules, so that `GROUPS` holds every option that they name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Schema = TypeVar("Schema", bound=type)

# group -> name -> schema. The decorator below fills it, in the order in which the classes are defined.
GROUPS: dict[str, dict[str, type]] = {}


def option(group: str, name: str) -> Callable[[Schema], Schema]:
    """Register the decorated dataclass, so that YAML names it as `/schema/<group>@_here_: <name>`.

    It stands above `@dataclass(slots=True)`, which makes a new class. Other packages use it too (docs/extending.md).
    """

    def register(schema: Schema) -> Schema:
        GROUPS.setdefault(group, {})[name] = schema
        return schema

    return register


def named(kind: str) -> type:
    """Return the registered class of the name `kind`; KeyError if there is none."""
    return {schema.__name__: schema for schemas in GROUPS.values() for schema in schemas.values()}[kind]
