"""The two-level design that the runs of one method are: its factors, found from what differs in their configs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from analysis.runs import ablation, naming
from analysis.runs.arms import Unsuited, title
from analysis.statistics import factorial
from analysis.statistics.factorial import Signs
from rlhf_lab.store.records import MissingRuns, Run

NO_SETTINGS = ("score", "tracker", "runtime")  # sections that change no curve
SEEDS = ("rm.seed", "preferences.seed", "policy.seed")  # of a replicate
WORDS = {  # of a factor; others are called as in the config
    "rm": "reward model",
    "preferences.pairs": "comparisons",
    "preferences.answers": "answers to a prompt",
    "labeler": "label noise",
    "rm_combination": "combination",
    "rm.init": "initialisation",
    "rm.center": "centring",
    "policy.kl_coef": "KL penalty",
}


class Factor(NamedTuple):
    """Settings that vary together."""

    name: str  # config groups and settings, joined by "and"
    first: str  # its level in the first run of the sweep
    second: str

    @property
    def words(self) -> str:
        """Its two levels in words."""
        return f"{WORDS.get(self.name, self.name)}: {self.first} to {self.second}"


@dataclass(frozen=True)
class Design:
    """The runs of one method, one of each cell in each replicate."""

    method: str
    factors: tuple[Factor, ...]
    signs: Signs  # (S, F) of -1 and 1
    runs: tuple[tuple[Run, ...], ...]  # S cells of R replicates
    left_out: int  # replicates without a run of every cell


def designs(runs: Sequence[Run]) -> list[Design]:
    """The design of each method in which anything varies but seeds; Unsuited says why runs are no design."""
    methods: dict[str, list[Run]] = {}
    for run in runs:
        methods.setdefault(run.choices["policy"], []).append(run)
    found = [_design(name, of) for name, of in methods.items() if _varying(of)]
    if not found:
        raise Unsuited(
            "nothing but seeds varies between runs of one method; a design varies settings at two levels"
        )
    return found


def settings(run: Run) -> dict[str, Any]:
    """Options of config groups and all values of the config by their names, seeds of replicates aside."""
    groups = {name: option for name, option in run.choices.items() if name in run.config}
    values = dict(_leaves({name: part for name, part in run.config.items() if name not in NO_SETTINGS}))
    return groups | {name: value for name, value in values.items() if name not in SEEDS}


def _leaves(part: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in part.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _varying(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Setting -> its value in each run, as text, of those that are not the same in all."""
    read = [settings(run) for run in runs]
    names = dict.fromkeys(name for one in read for name in one)
    values = {name: [naming.plain(one.get(name, "none")) for one in read] for name in names}
    return {name: of for name, of in values.items() if len(set(of)) > 1}


def _design(method: str, runs: Sequence[Run]) -> Design:
    together: dict[tuple[int, ...], list[str]] = {}  # signs over runs -> settings that vary so
    for name, values in _varying(runs).items():
        if len(levels := dict.fromkeys(values)) > 2:
            raise Unsuited(
                f"{title(method)}: {name} takes {len(levels)} values ({', '.join(levels)}); "
                "a setting of a two-level design takes two"
            )
        together.setdefault(tuple(-1 if value == values[0] else 1 for value in values), []).append(name)
    table = np.array(list(together)).T  # (runs, F)
    factors = tuple(_factor(names, signs, runs) for signs, names in together.items())
    cells = list(dict.fromkeys(map(tuple, table.tolist())))
    try:
        factorial.check(signs := np.array(cells), [factor.name for factor in factors])
    except ValueError as error:
        raise Unsuited(f"{title(method)}: {error}") from None
    kept, left_out = _replicates(runs, [cells.index(row) for row in map(tuple, table.tolist())], len(cells))
    if not kept[0]:
        raise MissingRuns(f"no replicate of {title(method)} has all {len(cells)} cells made")
    return Design(method, factors, signs, kept, left_out)


def _replicates(
    runs: Sequence[Run], cell: Sequence[int], cells: int
) -> tuple[tuple[tuple[Run, ...], ...], int]:
    """The made runs of each cell in the replicates that have all cells, and how many replicates have not."""
    found: dict[tuple[int, ...], dict[int, Run]] = {}
    for run, place in zip(runs, cell, strict=True):
        seeds = tuple(run.config[part]["seed"] for part in ("rm", "preferences", "policy"))
        of = found.setdefault(seeds, {})
        if place in of:
            raise ValueError(f"runs {of[place].key} and {run.key} have the same settings and seeds")
        of[place] = run
    whole = [
        of for of in found.values() if len(of) == cells and all(run.status == "made" for run in of.values())
    ]
    return tuple(tuple(of[place] for of in whole) for place in range(cells)), len(found) - len(whole)


def _factor(names: Sequence[str], signs: Sequence[int], runs: Sequence[Run]) -> Factor:
    """Groups stand for the settings in their sections."""
    groups = [name for name in names if "." not in name]
    shown = [name for name in names if name in groups or name.partition(".")[0] not in groups]
    levels = [runs[signs.index(sign)] for sign in (-1, 1)]
    return Factor(" and ".join(shown), *(" and ".join(_level(run, name) for name in shown) for run in levels))


def _level(run: Run, name: str) -> str:
    if name in ablation.WORDS:
        return ablation.WORDS[name](run) or ablation.UNNAMED[name]
    value = settings(run).get(name, "none")
    return f"{value:,}" if isinstance(value, int) else naming.plain(value)
