"""Two-level designs: the factors that the runs of one method vary, and their effects on what the curves show.

An effect is the mean of the runs at the second level minus that at the first, in a linear model with replicates as
blocks. Its error is the spread of runs within cells, the replicates' own levels taken off: every run has a reward model
of its own. To it is added, squared, the SE over questions, which all runs of a method share, of the same difference
question by question. Intervals are Student's t with the degrees of freedom of the first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc, stdtr, stdtrit

from analysis.best_of_n.curves import Curves
from analysis.runs import ablation, naming
from analysis.runs.arms import SEED, Arm, Study, Unsuited, study, title
from analysis.statistics import factorial
from analysis.statistics.factorial import Signs
from analysis.statistics.turnover import halves, turnover
from rlhf_lab.functional.intervals import Interval, mean_and_se
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


# --- effects --------------------------------------------------------------------------------------------------

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

PEAK, PEAK_D, DROP, END = "peak", "peak_d", "drop", "end"
MEASURES = {  # of a run, all with the peak chosen on one half of the questions and measured on the other
    PEAK: "peak gold",
    PEAK_D: "root of KL at the peak",
    DROP: "gold lost from the peak to the end",
    END: "gold at the end",
}
UPSTREAM_OF_NOTHING = (
    "policy",
    "reward_shaping",
)  # sections that change no score of an initial policy's answer


@dataclass(frozen=True)
class Measured:
    """The runs of a design (S cells, R replicates) by question (C)."""

    values: dict[
        str, Floats
    ]  # measure -> (S, R, C): gold in SDs on the initial policy, roots of KL in nats^0.5
    censored: Bools  # (S, R): the peak is at this KL or later: the last point, or where KL is a lower bound

    @property
    def questions(self) -> int:
        """How many questions all runs were evaluated on."""
        return self.values[PEAK].shape[-1]


class Effect(NamedTuple):
    """What the second level of a factor, or of a product of factors, adds to a measure."""

    value: float
    se: float
    df: float
    of_questions: float  # the part of the SE over questions

    def interval(self, level: float = 0.95) -> Interval:
        """The central `level` by Student's t."""
        half = float(stdtrit(self.df, (1 + level) / 2)) * self.se
        return Interval(self.value - half, self.value + half)

    @property
    def p(self) -> float:
        """Two-sided, of no effect."""
        return float(2 * stdtr(self.df, -abs(self.value) / self.se))


class Interaction(NamedTuple):
    """Products of two factors that share a column, and the effect of their sum."""

    pairs: tuple[tuple[Factor, Factor], ...]
    effect: Effect


class Agreement(NamedTuple):
    """Whether effects differ between replicates by more than runs do."""

    ratio: float  # F
    p: float


# --- from runs to measures ----------------------------------------------------------------------------------


def read(designs: Sequence[Design]) -> Study:
    """The arms of all designs; a trained policy takes its scale from best-of-n against the same reward models."""
    alike: dict[str, list[Run]] = {}
    for run in (run for design in designs for cell in design.runs for run in cell):
        upstream = {
            name: value
            for name, value in settings(run).items()
            if name.partition(".")[0] not in UPSTREAM_OF_NOTHING
        }
        alike.setdefault(json.dumps(upstream, sort_keys=True, default=str), []).append(run)
    return Study(tuple(arm for runs in alike.values() for arm in study(runs).arms))


def measured(design: Design, arms: Sequence[Arm]) -> Measured:
    """The measures of a design's runs; ValueError unless all have the same questions and points."""
    curves = {run.key: one for arm in arms for run, one in zip(arm.runs, arm.curves, strict=True)}
    cells = [[curves[run.key] for run in cell] for cell in design.runs]
    first = cells[0][0]
    if any(not _comparable(first, one) for cell in cells for one in cell):
        raise ValueError(
            f"runs of {design.method} were evaluated on different questions or at different points"
        )
    half = halves(len(first.questions), np.random.default_rng(SEED))
    gold = np.array([[one.by_question("gold") for one in cell] for cell in cells])
    kl = np.array([[one.kl for one in cell] for cell in cells])
    good = np.array([[one.kl_good for one in cell] for cell in cells])
    return measures(gold, kl, good, half)


def _comparable(first: Curves, other: Curves) -> bool:
    return np.array_equal(first.questions, other.questions) and np.array_equal(first.points, other.points)


def measures(gold: Floats, kl: Floats, good: Bools, half: Bools) -> Measured:
    """Of curves (S, R, C, K) of gold in its SDs and of KL in nats, which holds at points `good` (S, R, K)."""
    cells, replicates, questions, points = gold.shape
    table, nats = (one.reshape(-1, questions, points) for one in (gold, kl))
    found = turnover(table, half, end_too=True)
    place = found.place(half)
    at_peak = np.take_along_axis(nats, place[:, :, None], axis=2)[:, :, 0]
    end = table[:, :, -1] - table[:, :, 0]
    known = good.reshape(-1, points) & (np.arange(points) < points - 1)
    values = {PEAK: end + found.drops, PEAK_D: _root(at_peak), DROP: found.drops, END: end}
    shaped = {name: value.reshape(cells, replicates, questions) for name, value in values.items()}
    censored = ~np.take_along_axis(known, found.at, axis=1).all(axis=1)
    return Measured(shaped, censored.reshape(cells, replicates))


def _root(kl: Floats) -> Floats:
    """(N, C) whose mean over questions is the root of the mean KL, with the spread that it has (delta method)."""
    mean = kl.mean(axis=1, keepdims=True)
    root = np.sqrt(np.maximum(mean, 0))
    return root + (kl - mean) / (2 * np.where(root > 0, root, np.inf))


# --- the model ----------------------------------------------------------------------------------------------


def effects(values: Floats, columns: Signs, main: Signs) -> list[Effect]:
    """Of each of `columns` (S, E) on values (S, R, C); `main` (S, F) says what is error where nothing is replicated."""
    runs = values.mean(axis=2)
    variance, df = error(runs, main)
    count = runs.size
    of_questions = mean_and_se(_fit(values, columns).T)[1]
    return [
        Effect(float(value), float(np.hypot(np.sqrt(4 * variance / count), se)), df, float(se))
        for value, se in zip(_fit(runs, columns), of_questions, strict=True)
    ]


def _fit(runs: Floats, columns: Signs) -> Floats:
    """(E, ...): least squares on the columns and a level of each replicate, of runs (S, R, ...)."""
    cells, replicates = runs.shape[:2]
    blocks = np.tile(np.eye(replicates), (cells, 1))
    model = np.hstack([blocks, np.repeat(columns, replicates, axis=0) / 2])
    found = np.linalg.lstsq(model, runs.reshape(cells * replicates, -1), rcond=None)[0][replicates:]
    return np.asarray(found, dtype=float).reshape(-1, *runs.shape[2:])


def error(runs: Floats, main: Signs) -> tuple[float, float]:
    """The variance of a run and its degrees of freedom, of runs (S, R): the spread within cells, replicates taken off.

    Of one replicate it is what main effects leave of the cells: interactions count as error, which makes it too large.
    """
    cells, replicates = runs.shape
    if replicates > 1:
        df = (cells - 1) * (replicates - 1)
        return float((_within(runs) ** 2).sum() / df), float(df)
    df = cells - 1 - main.shape[1]
    left = runs[:, 0] - runs.mean() - main @ _fit(runs, main) / 2
    return (float((left**2).sum() / df), float(df)) if df else (np.nan, np.nan)


def _within(runs: Floats) -> Floats:
    """(S, R): runs less their cell and their replicate."""
    return runs - runs.mean(axis=1, keepdims=True) - runs.mean(axis=0) + runs.mean()


def agreement(values: Floats, main: Signs) -> Agreement:
    """F of the main effects' spread over replicates against that of the other contrasts; NaN of one replicate.

    Runs of one replicate share seeds, and some of them the comparisons: were that to matter, the error of a main
    effect would be larger than that of a run.
    """
    runs = values.mean(axis=2)
    cells, replicates = runs.shape
    others = cells - 1 - main.shape[1]
    if replicates < 2 or not others:
        return Agreement(np.nan, np.nan)
    left = _within(runs)
    own = ((main.T @ left) ** 2).sum() / cells
    df = (main.shape[1] * (replicates - 1), others * (replicates - 1))
    ratio = (own / df[0]) / (((left**2).sum() - own) / df[1])
    return Agreement(float(ratio), float(fdtrc(*df, ratio)))


def interactions(design: Design, values: Floats) -> list[Interaction]:
    """Of each set of products of two factors that is no main effect, the largest first; none of one replicate."""
    taken = {pair for _, pair in factorial.confounded(design.signs)}
    sets = [pairs for pairs in factorial.alias_sets(design.signs) if not taken.intersection(pairs)]
    if values.shape[1] < 2 or not sets:
        return []
    columns = np.stack([design.signs[:, pairs[0]].prod(axis=1) for pairs in sets], axis=1)
    named = [tuple((design.factors[i], design.factors[j]) for i, j in pairs) for pairs in sets]
    found = map(Interaction, named, effects(values, columns, design.signs))
    return sorted(found, key=lambda one: -abs(one.effect.value))
