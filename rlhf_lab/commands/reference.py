"""The reference of all configuration keys as Markdown, read from the schema and the folder `conf`.

The comment of a field in `rlhf_lab/config` explains its key, and the first comment of a file in `conf` explains its
option. Neither is written anywhere else.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import yaml

from rlhf_lab.commands.options import folder, options, ordered
from rlhf_lab.config import registry
from rlhf_lab.config.experiment import Experiment

TYPES = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text"}


class Key(NamedTuple):
    """One key of the configuration."""

    name: str
    schemas: list[type]  # the classes that have it
    type: str
    meaning: str


def keys_markdown() -> str:
    """Return the reference: for each part of an experiment its options, and its keys with type, value and meaning."""
    hints, comments = get_type_hints(Experiment), field_comments(Experiment)
    return "\n".join(_section(name, hints[name], comments[name]) for name in comments)


def field_comments(schema: type) -> dict[str, str]:
    """Return the comment of every field that the class itself declares, or of every member of an enum.

    A comment stands at the end of the field's line, in the lines above it, or in both.
    """
    lines = textwrap.dedent(inspect.getsource(schema)).splitlines()
    (definition,) = ast.parse("\n".join(lines)).body
    assert isinstance(definition, ast.ClassDef)
    comments = {}
    for statement in definition.body:
        if isinstance(statement, ast.AnnAssign) and "ClassVar" not in ast.unparse(statement.annotation):
            target = statement.target
        elif isinstance(statement, ast.Assign):
            target = statement.targets[0]
        else:
            continue
        above = []
        for line in reversed(lines[: statement.lineno - 1]):
            if not line.strip().startswith("#"):
                break
            above.insert(0, line)
        written = [*above, *lines[statement.lineno - 1 : statement.end_lineno]]
        comments[ast.unparse(target)] = " ".join(
            line.partition("# ")[2].strip() for line in written if "# " in line
        )
    return comments


def _section(part: str, schema: type, comment: str) -> str:
    schemas = registry.GROUPS.get(part, {"": schema})
    lines = [f"## `{part}`", "", *textwrap.wrap(comment, 100), ""]
    if part in registry.GROUPS:
        options_of_part = ordered(part, options(part, [folder("conf")]))
        files = {name: folder("conf") / part / f"{name}.yaml" for name in options_of_part}
        lines += ["| option | what it is |", "|---|---|"]
        lines += [f"| `{part}={name}` | {_cell(_first_comment(path))} |" for name, path in files.items()]
        lines += [""]
        names: dict[type, list[str]] = {}
        for name, path in files.items():
            names.setdefault(schemas[_schema_name(part, path)], []).append(name)
        values = {name: _values(part, path) for name, path in files.items()}
    else:
        names, values = {schema: [""]}, {"": _values_of_part(part)}
    keys = list(_keys(list(names)))
    if keys:
        lines += ["| key | options | type | value | meaning |", "|---|---|---|---|---|"]
    for key in keys:
        having = [name for schema in key.schemas for name in names[schema]]
        lacking = [name for schema in names for name in names[schema] if name not in having]
        named = " ".join(f"`{name}`" for name in (lacking if len(lacking) <= 2 < len(having) else having))
        shown = "" if not lacking else f"all but {named}" if len(lacking) <= 2 < len(having) else named
        given = {str(values[name][key.name]): None for name in having if key.name in values[name]}
        value = f"`{next(iter(given))}`" if len(given) == 1 else "by option" if given else ""
        meaning = _cell(key.meaning)
        lines.append(f"| `{part}.{key.name}` | {shown} | {_cell(key.type)} | {_cell(value)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _keys(schemas: list[type]) -> Iterator[Key]:
    """Yield the keys of several classes; one that they inherit from a common class is one key."""
    having: dict[tuple[type, str], list[type]] = {}
    for schema in schemas:
        for field in fields(schema):
            home = next(base for base in schema.__mro__ if field.name in inspect.get_annotations(base))
            having.setdefault((home, field.name), []).append(schema)
    names = list(dict.fromkeys(name for _, name in having))
    for (home, name), owners in sorted(having.items(), key=lambda item: names.index(item[0][1])):
        yield Key(name, owners, _type(get_type_hints(home)[name]), field_comments(home)[name])


def _type(hint: Any) -> str:
    """Return the type of a key in words."""
    if hint in TYPES:
        return TYPES[hint]
    if isinstance(hint, UnionType):
        return " or ".join(_type(kind) for kind in get_args(hint))
    if hint is type(None):
        return "`null`"
    if get_origin(hint) is list:
        return f"list of {_type(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return f"names, each with {_type(get_args(hint)[1])}"
    if issubclass(hint, Enum):
        return "; ".join(f"`{name}`{text and ': '}{text}" for name, text in field_comments(hint).items())
    group = next(
        group for group, schemas in registry.GROUPS.items() if issubclass(next(iter(schemas.values())), hint)
    )
    return f"the keys of `{group}`"


def _first_comment(path: Path) -> str:
    """Return the comment that a file of YAML begins with."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)


def _parents(group: str, path: Path) -> Iterator[str]:
    """Yield what an option is made of: `/schema/...: NAME`, or the name of another option of its group."""
    for default in yaml.safe_load(path.read_text()).get("defaults", ()):
        if isinstance(default, str) and default != "_self_":
            yield default
        elif isinstance(default, dict):
            ((key, value),) = default.items()
            if key.removeprefix("override ").startswith(f"/schema/{group}@"):
                yield f"/schema/{group}: {value}"


def _schema_name(group: str, path: Path) -> str:
    """Return the name of the schema of an option."""
    parents = list(_parents(group, path))
    schemas = [parent.partition(": ")[2] for parent in parents if parent.startswith("/schema/")]
    return schemas[-1] if schemas else _schema_name(group, path.with_stem(parents[0]))


def _values(group: str, path: Path) -> dict[str, Any]:
    """Return the values that an option gives, with those of the option that it is made of."""
    values: dict[str, Any] = {}
    for parent in _parents(group, path):
        if not parent.startswith("/schema/"):
            values |= _values(group, path.with_stem(parent))
    written = yaml.safe_load(path.read_text())
    training = path.parent / "training" / "default.yaml"
    common = yaml.safe_load(training.read_text()) if training.is_file() else {}
    given = common | {key: value for key, value in written.items() if key != "defaults"}
    return values | {key: _written(value) for key, value in given.items()}


def _values_of_part(part: str) -> dict[str, Any]:
    """Return the values of a part that has no options."""
    default = folder("conf") / part / "default.yaml"
    path = default if default.is_file() else folder("conf") / "config.yaml"
    values = yaml.safe_load(path.read_text())
    return {key: _written(value) for key, value in (values if default.is_file() else values[part]).items()}


def _written(value: Any) -> Any:
    """Return a value as YAML writes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
