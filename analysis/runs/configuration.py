"""What tells arms apart: the whole configuration of a run, less seeds, runtime and tracker.

`identity` is the one way in which runs are grouped: runs of one identity are the replicates of an arm.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rlhf_lab.store.records import Run


class Unsuited(ValueError):
    """Runs of which a figure can draw nothing, though nothing is wrong with them."""


NO_RESULT = ("runtime", "tracker")  # sections that change no result
OF_REPLICATES = ("rm.seed", "preferences.seed", "policy.seed")  # the seeds that name a replicate
OFF = (None, False, 0, "", [], {})  # values of a setting that is not used
PLAIN = {  # options that change nothing; a record from before the group existed has them
    "labeler": "gold_argmax",
    "rm_combination": "single",
    "reward_shaping": "none",
    "intervention": "none",
    "reward": "learned",
}
PLAIN_VALUES = {  # classes and values that a record from before there was the key has
    "preferences.answers": 2,
    "preferences.writer": "sft",
    "rm.init": "lm",
    "rm.loss": "bradley_terry",
    "rm.rankings": "whole",
    "rm.half": "both",
    "rm_combination.seeds": "finetune",
    "rm_combination.offset": "all",
    "policy.divergence": "reverse_kl",
    "policy.kl_place": "reward",
    "labeler": "GoldArgmax",
    "intervention": "NoIntervention",
    "rm_combination": "Single",
    "reward_shaping": "NoShaping",
    "reward": "LearnedReward",
}


def option(run: Run, group: str) -> str:
    """Return the option of a config group; the plain one in records from before there was the group."""
    return run.choices.get(group, PLAIN[group])


def is_seed(key: str) -> bool:
    """Return whether a key such as `rm.seed` or `rm.head_seed` is of a seed."""
    name = key.rpartition(".")[2]
    return name == "seed" or name.endswith("_seed")


def is_a(run: Run, group: str, kind: str) -> bool:
    """Return whether the run's option of a config group has the class `kind` or one that inherits from it."""
    return kind in run.classes.get(group, ())


def settings(run: Run) -> dict[str, Any]:
    """Return the class of every option and every value of the configuration by key, without seeds."""
    values: dict[str, Any] = {path: names[0] for path, names in run.classes.items()}
    values |= {key: value for key, value in leaves(run.config) if not is_seed(key)}
    return {key: value for key, value in values.items() if not within(key, NO_RESULT)}


def seeds(run: Run) -> dict[str, int]:
    """Return every seed of the configuration by key."""
    return {
        key: value
        for key, value in leaves(run.config)
        if is_seed(key) and value is not None and not within(key, NO_RESULT)
    }


def telling(run: Run, *without: str) -> dict[str, Any]:
    """Return the settings that are used and are not the plain ones, but for the keys and sections `without`."""
    return {
        key: value
        for key, value in settings(run).items()
        if not within(key, without) and not _is_plain(key, value)
    }


def identity(run: Run, *without: str) -> str:
    """Return a text that runs share if and only if they differ in nothing but seeds, runtime and tracker.

    Keys and whole sections that are named, such as `labeler` or `policy.kl_coef`, may differ too.
    """
    return json.dumps(telling(run, *without), sort_keys=True, default=str)


def chain(run: Run, *without: str) -> str:
    """Return a text that runs share if and only if their configurations and their seeds are the same `without` these.

    It tells apart what is made on the way to a run, such as its reward model or its SFT model.
    """
    values = telling(run, *without) | {
        key: seed for key, seed in seeds(run).items() if not within(key, without)
    }
    return json.dumps(values, sort_keys=True, default=str)


def differing(runs: Iterable[Run], *without: str) -> list[str]:
    """Return the keys of the settings in which runs differ, in the order of the configuration.

    The keys and sections `without` are not looked at.
    """
    tables = [telling(run, *without) for run in runs]
    return [
        key
        for key in dict.fromkeys(key for table in tables for key in table)
        if len({json.dumps(table.get(key), sort_keys=True, default=str) for table in tables}) > 1
    ]


def seed_names(arms: Iterable[Sequence[Run]]) -> tuple[str, ...]:
    """Return the keys of the seeds that name replicates.

    They are the seeds of reward model, comparisons and policy; where these are not enough to tell the runs of an arm
    apart, the other seeds that differ within it too.
    """
    more: dict[str, None] = {}
    for runs in arms:
        if len({replicate(run, OF_REPLICATES) for run in runs}) < len(runs):
            tables = [seeds(run) for run in runs]
            keys = dict.fromkeys(key for table in tables for key in table)
            more |= {key: None for key in keys if len({table.get(key) for table in tables}) > 1}
    return (*OF_REPLICATES, *(key for key in more if key not in OF_REPLICATES))


def replicate(run: Run, names: Sequence[str]) -> str:
    """Return the seeds of these keys as text: `0/0/1`, and others by their keys."""
    own = seeds(run)
    first = "/".join(str(own.get(key, "-")) for key in OF_REPLICATES)
    return " ".join(
        [first, *(f"{key}={own[key]}" for key in names if key in own and key not in OF_REPLICATES)]
    )


def within(key: str, places: Sequence[str]) -> bool:
    """Return whether a key is one of `places` or lies in one of them."""
    return any(key == place or key.startswith(f"{place}.") for place in places)


def _is_plain(key: str, value: Any) -> bool:
    if key in PLAIN and value == PLAIN[key]:  # an option whose class is not known
        return True
    return value == PLAIN_VALUES[key] if key in PLAIN_VALUES else any(value == off for off in OFF)


def leaves(part: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted key and value of everything in nested mappings; a list is a value."""
    for name, value in part.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
