"""What a run was configured to be: its arm, its seeds, and the keys in which runs differ.

Runs are replicates of one arm if their configurations differ in nothing but seeds. How a run was executed (`runtime`)
and where it was mirrored (`tracker`) is no part of what it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlhf_lab.store.records import Run


class Unsuited(ValueError):
    """Runs of which a figure can draw nothing, though nothing is wrong with them."""


NO_PART = ("runtime", "tracker")  # sections that change no result
# Config groups of which one class has every option, so that the values say all. An option of the others may differ
# from another in its class alone, as the mean of several reward models does from their minimum.
VALUES_SAY_ALL = ("model", "rm", "experiment", "replicate", *NO_PART)
SEEDS = ("seed", "head_seed")  # names of fields that seed a random generator
USUAL = ("rm.seed", "preferences.seed", "policy.seed")  # the seeds by which replicates are called
PLAIN = {  # options that change nothing; a record from before the group existed has them
    "labeler": "gold_argmax",
    "rm_combination": "single",
    "reward_shaping": "none",
    "intervention": "none",
    "reward": "learned",
}


def option(run: Run, group: str) -> str:
    """Return the option of a config group; the plain one in records from before there was the group."""
    return run.choices.get(group, PLAIN[group])


def settings(run: Run) -> dict[str, Any]:
    """Return dotted key -> value of all that makes the run's arm; a key that is not set, or set to null, is left out.

    The option of a config group is under the group's name.
    """
    options = {
        group: chosen
        for group, chosen in run.choices.items()
        if group not in VALUES_SAY_ALL and chosen != PLAIN.get(group)
    }
    values = {
        key: value
        for key, value in leaves(run.config)
        if key.partition(".")[0] not in NO_PART and not is_seed(key) and value not in (None, {}, [])
    }
    return options | values


def identity(run: Run) -> str:
    """Return what all replicates of an arm share and no other arm has."""
    return json.dumps(settings(run), sort_keys=True, default=str)


def is_seed(key: str) -> bool:
    """Return whether a dotted key is a seed."""
    return key.rpartition(".")[2] in SEEDS


def seeds(run: Run) -> dict[str, Any]:
    """Return dotted key -> value of every seed of a run that is set, those by which replicates are called first."""
    found = {key: value for key, value in leaves(run.config) if is_seed(key) and value is not None}
    return {key: found[key] for key in USUAL if key in found} | found


def differing(runs: Sequence[Run]) -> list[str]:
    """Return the keys of `settings` in which not all of the runs agree, in order."""
    each = [settings(run) for run in runs]
    keys = dict.fromkeys(key for values in each for key in values)
    return [key for key in keys if len({json.dumps(values.get(key), default=str) for values in each}) > 1]


def check_alike(runs: Sequence[Run], called: str, besides: Sequence[str] = ()) -> None:
    """Raise Unsuited if runs that are taken for replicates differ in more than seeds.

    They may differ in the keys `besides`, and in those below them.
    """
    others = [key for key in differing(runs) if not any(f"{key}.".startswith(f"{name}.") for name in besides)]
    if others:
        raise Unsuited(
            f"{called}: runs {', '.join(run.key[:8] for run in runs[:2])}{' ...' if len(runs) > 2 else ''} differ in "
            f"{' and '.join(others)}, so they are no replicates: choose runs of one setting"
        )


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted key and value of everything in nested mappings; a list is a value."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
