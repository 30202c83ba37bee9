"""One line for an error: a user's mistake, with the nearest name that exists, or a store that cannot be written."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import get_type_hints

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from rlhf_lab.commands.terminal import hint
from rlhf_lab.config import registry
from rlhf_lab.config.checks import OutOfRange
from rlhf_lab.config.experiment import Experiment

NEIGHBOURS = 8  # keys listed beside the one that is missing
WRONG_TYPE = re.compile(
    r"Value '(?P<value>.*)' (of type .* could not be converted to (?P<kind>\w+)|is not a valid (?P<type>\w+) )"
)
NOT_A_PART = re.compile(r"Invalid type assigned: .* is not a subclass of \w+. value: (?P<value>.*)")
KINDS = {
    "Float": "a number",
    "Integer": "a whole number",
    "Boolean": "true or false",
    "bool": "true or false",
}


class Incomplete(Exception):
    """Some jobs of the sweep are not made; the table that was printed says which."""


class Mistake(ValueError):
    """Something that the user can mend; its text is one line."""


def keys(schema: type, prefix: str = "") -> Iterator[str]:
    """The dotted keys of a schema and of the classes that its fields may hold."""
    hints = get_type_hints(schema)
    for field in fields(schema):
        name = prefix + field.name
        yield name
        if not prefix:
            own = {"": hints[field.name]}
            for option in registry.GROUPS.get(field.name, own).values():
                yield from keys(option, f"{name}.")


def explain(error: BaseException) -> str:
    """The one line for an error that came up while composing, safe for a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in _explain(error))


def unreadable(written: str) -> Mistake:
    """What to say of an override that Hydra's grammar has no reading for."""
    return Mistake(f"{written}: cannot be read: expected key=value, a value with , ( ) = or ~ in quotes")


def _explain(error: BaseException) -> str:
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for found in chain:
        if isinstance(found, Mistake):
            return str(found)
        if isinstance(found, MissingConfigException):
            return _option(found)
        if isinstance(found, (ConfigAttributeError, ConfigKeyError)):
            return _key(found, chain)
        if isinstance(found, OverrideParseException):
            return str(unreadable(_written(found.override)))
    inner = next((e for e in chain if isinstance(e, OmegaConfBaseException)), None)
    if inner is not None:
        where = f"{inner.full_key}: " if inner.full_key else ""
        return where + _plain(inner)
    return _first_line(error)


def is_mistake(error: BaseException) -> bool:
    """Whether `error` came from what the user wrote rather than from a defect of ours."""
    return isinstance(error, (Mistake, HydraException, OmegaConfBaseException))


def missing_values(cfg: DictConfig) -> None:
    """Refuse a configuration in which a mandatory value is not given."""
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise Mistake(f"{missing[0]} needs a value: give {missing[0]}=...")


def _written(override: str | None) -> str:
    """An override as the user wrote it, without what rlhf-lab puts around a value."""
    key, _, value = (override or "").partition("=choice(")
    return f"{key}={value.removesuffix(')')}" if value else key


def out_of_range(cfg: DictConfig, error: OutOfRange) -> Mistake:
    """The error with the key of `cfg` that a user would write in place of the name of a class."""
    value = repr(getattr(error.config, error.name))
    for key, part in _parts(cfg):
        if OmegaConf.get_type(part) is type(error.config) and repr(part[error.name]) == value:
            return Mistake(f"{key}.{error.name} {error.problem}")
    return Mistake(str(error))


def _parts(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, DictConfig]]:
    """The dotted key of every part of a configuration, and the part."""
    for key, part in cfg.items():
        if isinstance(part, DictConfig):
            yield f"{prefix}{key}", part
            yield from _parts(part, f"{prefix}{key}.")


def _option(error: MissingConfigException) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    options = [option for option in error.options or () if not option.endswith("/")]
    return f"no {group} {name!r}{hint(name, options)}"


def _key(error: OmegaConfBaseException, chain: list[BaseException]) -> str:
    full = str(error.full_key or error.key)
    parent, _, name = full.rpartition(".")
    node = error.parent_node
    siblings = [str(key) for key in node] if isinstance(node, DictConfig) else []
    if not parent:
        groups = re.search(r"Could not override '([^']+)'", " ".join(map(str, chain)))
        full = groups[1] if groups else full
        siblings = [key for key in siblings if key != "hydra"]
        return f"no key {full!r}{hint(full, [*keys(Experiment), *siblings])}"
    having = sorted(
        option
        for option, schema in registry.GROUPS.get(parent, {}).items()
        if any(field.name == name for field in fields(schema))
    )
    if having:
        present = f"; it has {', '.join(siblings)}" if 0 < len(siblings) <= NEIGHBOURS else ""
        return f"no key {full!r} here: {parent}={'|'.join(having)} has one{present}"
    return f"no key {full!r}{hint(name, siblings)}"


def _plain(error: OmegaConfBaseException) -> str:
    text = _first_line(error)
    if not isinstance(error, ValidationError):
        return text
    if found := WRONG_TYPE.match(text):
        value, kind = found["value"], found["kind"] or found["type"]
        return f"expected {KINDS.get(kind, kind)}, got {value!r}"
    if found := NOT_A_PART.match(text):
        return f"expected keys of its own ({error.full_key}.KEY=...), got {found['value']!r}"
    return text


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


GOES_ON = "nothing made is lost; then the same command goes on"
FULL = f"free some (rlhf-runs prune shows what can go); {GOES_ON}"
REMEDIES = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EROFS: f"make it writable, or give another place with runtime.store=...; {GOES_ON}",
    errno.EACCES: f"get permission, or give another place with runtime.store=...; {GOES_ON}",
    errno.EPERM: f"get permission, or give another place with runtime.store=...; {GOES_ON}",
}
TOLD_IN_WORDS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # safetensors and torch raise no OSError for these


def obstacle(error: BaseException) -> str | None:
    """What is in the way and what to do about it, if that is what `error` is about."""
    number = error.errno if isinstance(error, OSError) else None
    if number not in REMEDIES:
        number = next((n for n in TOLD_IN_WORDS if os.strerror(n) in str(error)), None)
    if number is None:
        return None
    where = getattr(error, "filename", None) or "the store"
    return f"{where}: {os.strerror(number)}: {REMEDIES[number]}"
