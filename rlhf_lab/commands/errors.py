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

from rlhf_lab.commands.options import folder
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
GOES_ON = "nothing made is lost, and the same command goes on afterwards"
FULL = f"free some (rlhf-runs prune shows what can go); {GOES_ON}"
REMEDIES = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EROFS: f"make it writable, or give another place with runtime.store=...; {GOES_ON}",
    errno.EACCES: f"get permission, or give another place with runtime.store=...; {GOES_ON}",
    errno.EPERM: f"get permission, or give another place with runtime.store=...; {GOES_ON}",
}
PLACE = f"give another place with runtime.store=..., or remove what is in the way; {GOES_ON}"
REMEDIES |= dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP), PLACE)
REMEDIES[errno.EXDEV] = f"all folders of a store must lie on one file system: remove the link; {GOES_ON}"
ONLY_IN_TEXT = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # safetensors and torch raise no OSError for these


class Incomplete(Exception):
    """Some jobs of the sweep are not made; the printed table says which."""


class Mistake(ValueError):
    """An error that the user can correct; its text is one line."""


def keys(schema: type, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a schema and of the classes that its fields may hold."""
    hints = get_type_hints(schema)
    for field in fields(schema):
        name = prefix + field.name
        yield name
        if not prefix:
            for option in registry.GROUPS.get(field.name, {"": hints[field.name]}).values():
                yield from keys(option, f"{name}.")


def explain(error: BaseException) -> str:
    """Return one line for an error of composing, safe for a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in _explain(error))


def unreadable(written: str) -> Mistake:
    """Return the error for an override that Hydra's grammar cannot read."""
    return Mistake(
        f"{written}: cannot be read: expected key=value, and quotes around a value with , ( ) = or ~"
    )


def _explain(error: BaseException) -> str:
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for link in chain:
        if isinstance(link, Mistake):
            return str(link)
        if isinstance(link, MissingConfigException):
            return _option(link)
        if isinstance(link, (ConfigAttributeError, ConfigKeyError)):
            return _key(link, chain)
        if isinstance(link, OverrideParseException):
            return str(unreadable(_written(link.override)))
    inner = next((e for e in chain if isinstance(e, OmegaConfBaseException)), None)
    if inner is not None:
        where = f"{inner.full_key}: " if inner.full_key else ""
        return where + _plain(inner)
    return _first_line(error)


def is_mistake(error: BaseException) -> bool:
    """Return whether `error` is the user's mistake rather than a defect of this project."""
    return isinstance(error, (Mistake, HydraException, OmegaConfBaseException))


def missing_values(cfg: DictConfig) -> None:
    """Refuse a configuration in which a mandatory value is not given."""
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise Mistake(f"{missing[0]} needs a value: give {missing[0]}=...")


def _written(override: str | None) -> str:
    """Return an override as the user wrote it, without the `choice(...)` that rlhf-lab puts around a value."""
    key, _, value = (override or "").partition("=choice(")
    return f"{key}={value.removesuffix(')')}" if value else key


def out_of_range(cfg: DictConfig, error: OutOfRange) -> Mistake:
    """Return the error with the key of `cfg` in place of the name of a class."""
    value = repr(getattr(error.config, error.name))
    for key, part in _parts(cfg):
        if OmegaConf.get_type(part) is type(error.config) and repr(part[error.name]) == value:
            return Mistake(f"{key}.{error.name} {error.problem}")
    return Mistake(str(error))


def _parts(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Yield the dotted key of every part of a configuration, and the part."""
    for key, part in cfg.items():
        if isinstance(part, DictConfig):
            yield f"{prefix}{key}", part
            yield from _parts(part, f"{prefix}{key}.")


def _option(error: MissingConfigException) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    options = [option for option in error.options or () if not option.endswith("/")]
    if group == "experiment":
        options += [path.stem for path in folder("sweeps").glob("*.yaml")]
    return f"no {group or 'configuration'} {name!r}{hint(name, options)}"


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
    others = {option.name for schema in registry.GROUPS.get(parent, {}).values() for option in fields(schema)}
    said = hint(name, siblings)
    if "did you mean" not in said:  # perhaps another option of the group has it
        said = next((near for near in [hint(name, others)] if "did you mean" in near), said)
    return f"no key {full!r}{said.replace('did you mean ', f'did you mean {parent}.')}"


def _plain(error: OmegaConfBaseException) -> str:
    text = _first_line(error)
    if not isinstance(error, ValidationError):
        return text
    if match := WRONG_TYPE.match(text):
        value, kind = match["value"], match["kind"] or match["type"]
        return f"expected {KINDS.get(kind, kind)}, got {value!r}"
    if match := NOT_A_PART.match(text):
        return f"expected keys of its own ({error.full_key}.KEY=...), got {match['value']!r}"
    return text


def in_one_line(error: BaseException) -> str:
    """Return the class of an error and the first line of its message."""
    first = _first_line(error)
    name = type(error).__name__
    return name if first == name else f"{name}: {first}"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def obstacle(error: BaseException) -> str | None:
    """Return why the store cannot be written and what to do about it; None if `error` is about something else."""
    number = error.errno if isinstance(error, OSError) else None
    if number not in REMEDIES:
        number = next((n for n in ONLY_IN_TEXT if os.strerror(n) in str(error)), None)
    if number is None:
        return None
    where = getattr(error, "filename", None) or "the store"
    return f"{where}: {os.strerror(number)}: {REMEDIES[number]}"
