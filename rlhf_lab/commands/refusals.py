"""Input that is refused before it is composed: unknown flags, added keys, paths for names, YAML that names Python.

YAML is data: no file that is composed may name Python to import, to call or to build. Hydra builds its own parts
(launchers, sweepers) from classes that are named in YAML. It takes only plugins that are installed, but it would import
callbacks and logging handlers from anywhere.
"""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, NoReturn

from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from rlhf_lab.commands import options
from rlhf_lab.commands.errors import Mistake, keys
from rlhf_lab.commands.terminal import hint
from rlhf_lab.config.experiment import Experiment
from rlhf_lab.config.runtime import Runtime

PICKLED = "--experimental-rerun"  # reads its configuration from a pickle
PYTHON = re.compile(
    r"_target_|^\W*hydra[./](callbacks|job_logging|hydra_logging)|pkg://"
)  # what Hydra would import
OPTION = re.compile(r"\w[\w.+-]*")
TARGET = "_target_"
LOGGING = {"logging.StreamHandler", "logging.FileHandler", "colorlog.ColoredFormatter"}
STREAMS = {"ext://sys.stdout", "ext://sys.stderr"}
NO_LOGGING = {"version": 1, "root": None, "disable_existing_loggers": False}  # what conf/config.yaml chooses
# Keys of Hydra's own part that run a program, write a file or move the job elsewhere -> the value that they keep.
KEPT: dict[str, Any] = {
    "job_logging": NO_LOGGING,
    "hydra_logging": NO_LOGGING,
    "callbacks": {},
    "job.env_set": {},
    "job.env_copy": [],
    "job.chdir": None,
    "output_subdir": None,
}
MODULES = "pkg://"  # a search path of Hydra's that imports what it names


def check_flags(parser: ArgumentParser, arguments: Sequence[str]) -> bool:
    """Refuse unknown flags, values without a key, and the flag that would load a pickle; Mistake in one line.

    `parser` is Hydra's, which would print its usage. Return whether the whole configuration of a job is asked for
    (`--cfg job`).
    """
    parser.error = _refuse
    flags, unknown = parser.parse_known_args(arguments)
    for word in unknown:
        if word.startswith("-"):
            known = [name for name in parser._option_string_actions if name not in (PICKLED, "-er")]
            raise Mistake(f"no flag {word.partition('=')[0]}{hint(word.partition('=')[0], known)}")
        raise Mistake(
            f"{word}: stands apart from other overrides: write all of them on one side of the flags"
        )
    if flags.experimental_rerun is not None:
        raise Mistake(f"{PICKLED} would load a pickle, which is never done: give the overrides again")
    if flags.resolve and not (flags.cfg or flags.help):
        raise Mistake("--resolve says how --cfg prints values: write it with --cfg job")
    for word in flags.overrides:
        if "=" not in word and not word.startswith("~"):
            raise Mistake(f"{word}: expected key=value or group=option; rlhf-lab --help lists them")
    return flags.cfg == "job" and flags.package is None


def _refuse(message: str) -> NoReturn:
    raise Mistake(message)


def refuse_python(config: Any, where: str) -> None:
    """Refuse plain YAML values that name Python; Mistake says which key of `where` does."""
    for key, value in _leaves(config):
        name = key.rpartition(".")[2]
        text = str(value)
        if (
            (name == TARGET and text not in Plugins.instance().class_name_to_class)
            or (name in ("class", "()") and text not in LOGGING)
            or (text.startswith(("ext://", MODULES)) and text not in STREAMS)
        ):
            raise Mistake(f"{where}: {key} names Python to run ({text}), which YAML cannot: remove it")


def refuse_hydra(hydra: DictConfig) -> None:
    """Refuse a composed `hydra` node that would run a program, write a file of its own or change the folder.

    Values are looked at as they are after interpolation; Mistake names the key.
    """
    for key, kept in KEPT.items():
        value = OmegaConf.select(hydra, key)
        plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        if plain != kept and (plain or kept):
            raise Mistake(
                f"hydra.{key} cannot be set: no configuration chooses the environment, the folder or the log of a job; "
                "leave it out"
            )


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of everything in nested mappings and lists."""
    items = config.items() if isinstance(config, dict) else enumerate(config)
    for key, value in items:
        if isinstance(value, (dict, list)):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def refuse_override(override: Override) -> None:
    """Refuse an override that adds or removes a key, names Python or a path, or sweeps over experiments."""
    key = override.key_or_group
    if not key:
        raise Mistake(f"{override.input_line}: expected key=value or group=option")
    if PYTHON.search(override.input_line or ""):
        raise Mistake(f"{override.input_line}: names Python to run, which no key can")
    if key == "experiment" and override.is_sweep_override():
        raise Mistake(f"{override.input_line}: one experiment at a time: give each a command of its own")
    if "." not in key and isinstance(option := override.value(), str):
        refuse_paths({key: option})
    refuse_values_as_options(override)
    if override.value() == {}:
        raise Mistake(
            f"{override.input_line}: changes nothing, as keys are merged: give the keys in it values of their own"
        )
    flags = {f"runtime.{field.name}" for field in fields(Runtime) if field.type == "bool"}
    if key in flags and not isinstance(override.value(), bool):
        raise Mistake(f"{key}: expected true or false, got {override.value()!r}")
    if key == "sweeps":
        raise Mistake(f"{override.input_line}: write experiment={override.value()}")
    if key == "hydra/sweeper" and override.value() != "planned":
        raise Mistake(
            f"{override.input_line}: only the sweeper of rlhf-lab plans and records jobs: leave this out"
        )
    if key in ("hydra.launcher", "hydra.sweeper") and not isinstance(override.value(), dict):
        raise Mistake(f"{override.input_line}: a launcher is chosen by name: hydra/launcher=NAME")
    if key.startswith(("hydra.job.env", "hydra.job.chdir")):
        raise Mistake(
            f"{override.input_line}: no key chooses the environment or the folder of a job: leave it out"
        )
    if key == "hydra.searchpath":
        raise Mistake(f"{override.input_line}: give the folder with --config-dir")
    if key.startswith("hydra"):
        return
    if override.is_delete():
        raise Mistake(f"{override.input_line}: no key can be removed; give it a value with {key}=...")
    if override.is_add() or override.is_force_add():
        known = [*keys(Experiment), "experiment", "replicate"]
        instead = f": write {key}=..." if key in known else hint(key, known)
        raise Mistake(f"{override.input_line}: no key can be added{instead}")


def refuse_twice(overrides: Sequence[Override]) -> None:
    """Refuse a key or group that is given two values: only the last one would count."""
    given: dict[str, str] = {}
    for override in overrides:
        written = str(override.input_line)
        earlier = given.setdefault(override.get_key_element(), written)
        if earlier != written:
            raise Mistake(f"{earlier} {written}: one key, two values: give one, or a sweep over both")


def refuse_values_as_options(override: Override) -> None:
    """Refuse a number, true, false, null or a range where a group takes the name of an option, such as rm=25."""
    group, value = override.key_or_group, override.value()
    folders = [options.folder("conf"), *options.load_plugins()]
    if group != "replicate" and not any((folder / group).is_dir() for folder in folders):
        return
    written = (override.input_line or "").partition("=")[2]
    values = {str(each): each for each in value.list} if isinstance(value, ChoiceSweep) else {written: value}
    for name, option in values.items():
        if option is None or isinstance(option, (bool, int, float, RangeSweep, dict, list)):
            raise Mistake(f"no {group} {name!r}{hint(name, options.names(group, folders))}")


def refuse_paths(choices: Mapping[str, str]) -> None:
    """Refuse options that are paths rather than names; an experiment's is the name of its folder in the store."""
    for group, option in choices.items():
        parts = [option] if group == "experiment" else option.split("/")
        if not all(OPTION.fullmatch(part) for part in parts):
            raise Mistake(f"{group}={option}: an option is a name (letters, digits, _ . + -), not a path")
