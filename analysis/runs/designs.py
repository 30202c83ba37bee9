"""Two-level factorial designs among runs: the factors that the runs of one method vary, and what each run
shows.

`analysis.statistics.factorial` computes the effects of the factors from the measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.best_of_n.curves import Curves
from analysis.runs import ablation, configuration, naming
from analysis.runs.arms import SEED, Arm, Study, Unsuited, grouped, study, title
from analysis.statistics import factorial
from analysis.statistics.factorial import Signs, effects
from analysis.statistics.turnover import halves, turnover
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NO_SETTINGS = ("score",)  # sections of the config that change no curve, beside those that change no result
WORDS = {  # of a factor; a factor without words is called as in the config
    "rm": "reward model",
    "preferences.pairs": "comparisons",
    "preferences.answers": "answers to a prompt",
    "labeler": "label noise",
    "rm_combination": "combination",
    "rm.init": "initialisation",
    "rm.center": "centring",
    "policy.kl_coef": "KL penalty",
}

# The measures of a run. The peak is chosen on one half of the questions and measured on the other.
PEAK, PEAK_D, DROP, END = "peak", "peak_d", "drop", "end"
MEASURES = {
    PEAK: "peak gold",
    PEAK_D: "root of KL at the peak",
    DROP: "gold lost from the peak to the end",
    END: "gold at the end",
}


class Factor(NamedTuple):
    """Settings that vary together."""

    name: str  # config groups and settings, joined by "and"
    first: str  # its level in the first run of the sweep
    second: str

    @property
    def words(self) -> str:
        """The factor and its two levels in words."""
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
    """Return the design of each method in which anything but seeds varies.

    Raises Unsuited, which says why the runs are no two-level design.
    """
    methods: dict[str, list[Run]] = {}
    for run in runs:
        methods.setdefault(run.choices["policy"], []).append(run)
    designs = [_design(name, its_runs) for name, its_runs in methods.items() if _varying(its_runs)]
    if not designs:
        raise Unsuited(
            "nothing but seeds varies between runs of one method; a design varies settings at two levels"
        )
    return designs


def settings(run: Run) -> dict[str, Any]:
    """Return the options of config groups and all values of the configuration by name, without seeds."""
    groups = {name: option for name, option in run.choices.items() if name in run.config}
    values = configuration.settings(run) | groups
    return {name: value for name, value in values.items() if not configuration.within(name, NO_SETTINGS)}


def _varying(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return setting -> its value in each run, as text, of the settings that are not the same in all runs."""
    differing = set(configuration.differing(runs))
    by_run = [settings(run) for run in runs]
    names = dict.fromkeys(name for values in by_run for name in values)
    columns = {
        name: [naming.plain(values.get(name, "none")) for values in by_run]
        for name in names
        if name in differing or "." not in name
    }
    return {name: column for name, column in columns.items() if len(set(column)) > 1}


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
    """Return the made runs of each cell in the replicates that have all cells, and how many replicates have not."""
    replicates: dict[str, dict[int, Run]] = {}  # seeds -> cell -> run
    names = configuration.seed_names(grouped(runs))
    for run, place in zip(runs, cell, strict=True):
        replicate = replicates.setdefault(configuration.replicate(run, names), {})
        if place in replicate:
            raise ValueError(f"runs {replicate[place].key} and {run.key} have the same settings and seeds")
        replicate[place] = run
    whole = [
        replicate
        for replicate in replicates.values()
        if len(replicate) == cells and all(run.status == "made" for run in replicate.values())
    ]
    by_cell = tuple(tuple(replicate[place] for replicate in whole) for place in range(cells))
    return by_cell, len(replicates) - len(whole)


def _factor(names: Sequence[str], signs: Sequence[int], runs: Sequence[Run]) -> Factor:
    """Return the factor of settings that vary together; a config group stands for the settings in its section."""
    groups = [name for name in names if "." not in name]
    shown = [name for name in names if name in groups or name.partition(".")[0] not in groups]
    levels = [runs[signs.index(sign)] for sign in (-1, 1)]
    return Factor(" and ".join(shown), *(" and ".join(_level(run, name) for name in shown) for run in levels))


def _level(run: Run, name: str) -> str:
    if name in ablation.WORDS:
        return ablation.WORDS[name](run) or ablation.UNNAMED[name]
    value = settings(run).get(name, "none")
    return f"{value:,}" if isinstance(value, int) else naming.plain(value)


# --- measures -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """The runs of a design (S cells, R replicates) by question (C)."""

    values: dict[str, Floats]  # measure -> (S, R, C): gold in its SDs, roots of KL in nats^0.5
    censored: Bools  # (S, R): the peak is at this KL or later, as it is the last point or KL is a lower bound

    @property
    def questions(self) -> int:
        """The number of questions that all runs were evaluated on."""
        return self.values[PEAK].shape[-1]


class Interaction(NamedTuple):
    """Products of two factors that share a column, and the effect of their sum."""

    pairs: tuple[tuple[Factor, Factor], ...]
    effect: Estimate


def read(designs: Sequence[Design]) -> Study:
    """Return the arms of all designs; a trained policy takes its scale from best-of-n on the same reward models."""
    return study([run for design in designs for cell in design.runs for run in cell])


def measured(design: Design, arms: Sequence[Arm]) -> Measured:
    """Return the measures of a design's runs; raises ValueError unless all have the same questions and points."""
    curves = {
        run.key: its_curves for arm in arms for run, its_curves in zip(arm.runs, arm.curves, strict=True)
    }
    cells = [[curves[run.key] for run in cell] for cell in design.runs]
    first = cells[0][0]
    if any(not _comparable(first, other) for cell in cells for other in cell):
        raise ValueError(
            f"runs of {design.method} were evaluated on different questions or at different points"
        )
    half = halves(len(first.questions), np.random.default_rng(SEED))
    gold = np.array([[run.by_question("gold") for run in cell] for cell in cells])
    kl = np.array([[run.kl for run in cell] for cell in cells])
    good = np.array([[run.kl_good for run in cell] for cell in cells])
    return measures(gold, kl, good, half)


def _comparable(first: Curves, other: Curves) -> bool:
    return np.array_equal(first.questions, other.questions) and np.array_equal(first.points, other.points)


def measures(gold: Floats, kl: Floats, good: Bools, half: Bools) -> Measured:
    """Return the measures of curves (S, R, C, K) of gold in its SDs and of KL in nats.

    KL holds at the points that are `good` (S, R, K); `half` (C,) is the half of the questions that chooses the
    peak of the other.
    """
    cells, replicates, questions, points = gold.shape
    turns = [turnover(of_cell, half, end_too=True) for of_cell in gold]
    table, nats = (curves.reshape(-1, questions, points) for curves in (gold, kl))
    at, falls = (
        np.concatenate(parts) for parts in zip(*((turn.at, turn.falls) for turn in turns), strict=True)
    )
    place = np.concatenate([turn.place(half) for turn in turns])
    at_peak = np.take_along_axis(nats, place[:, :, None], axis=2)[:, :, 0]
    end = table[:, :, -1] - table[:, :, 0]
    known = good.reshape(-1, points) & (np.arange(points) < points - 1)
    values = {PEAK: end + falls, PEAK_D: _root(at_peak), DROP: falls, END: end}
    shaped = {name: value.reshape(cells, replicates, questions) for name, value in values.items()}
    censored = ~np.take_along_axis(known, at, axis=1).all(axis=1)
    return Measured(shaped, censored.reshape(cells, replicates))


def _root(kl: Floats) -> Floats:
    """Return numbers (N, C) whose mean over questions is the root of the mean KL, and whose spread is that of
    the root.
    """
    mean = kl.mean(axis=1, keepdims=True)
    root = np.sqrt(np.maximum(mean, 0))
    return root + (kl - mean) / (2 * np.where(root > 0, root, np.inf))


def interactions(design: Design, values: Floats) -> list[Interaction]:
    """Return the effect of each alias set of products of two factors that is no main effect, the largest first.

    There are none where there is only one replicate.
    """
    taken = {pair for _, pair in factorial.confounded(design.signs)}
    sets = [pairs for pairs in factorial.alias_sets(design.signs) if not taken.intersection(pairs)]
    if values.shape[1] < 2 or not sets:
        return []
    columns = np.stack([design.signs[:, pairs[0]].prod(axis=1) for pairs in sets], axis=1)
    named = [tuple((design.factors[i], design.factors[j]) for i, j in pairs) for pairs in sets]
    interactions = map(Interaction, named, effects(values, columns, design.signs))
    return sorted(interactions, key=lambda interaction: -abs(interaction.effect.value))
