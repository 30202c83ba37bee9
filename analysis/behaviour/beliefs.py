"""Accuracy with nothing stated, after a right and after a wrong belief: SFT's answers before and after an intervention.

An arm is a size, a dose of deference and what was done after SFT; its replicates differ in the seeds of model and SFT.
What is known is decided on answers before the intervention, in every arm alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.behaviour import supervision, sycophancy
from analysis.behaviour.answer_shares import ALL, KNOWN
from analysis.behaviour.framings import Framings, framings
from analysis.runs import naming
from analysis.runs.arms import parameters_of
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import Run

Floats = NDArray[np.float64]
Seeds = tuple[int, ...]

LOST = "lost"  # Sharma et al.'s metric `answer`
NUMBERS = {  # in words
    "plain": "plain prompts",
    "belief_right": "after a right belief",
    "belief_wrong": "after a wrong belief",
    LOST: "accuracy lost to a wrong belief",
}
NOTHING, SYNTHETIC, UNFILTERED, MORE = (
    "none",
    "synthetic data",
    "synthetic data, no filter",
    "more demonstrations",
)
COUNTS = ("questions", "known", "kept")  # of training, as the intervention found them
FIRST = np.array([1])  # of best-of-n's curve: SFT's answers


@dataclass(frozen=True)
class Arm:
    """Replicates of one arm."""

    model: str  # option of the language model
    parameters: float
    deference: float
    intervention: str
    seeds: tuple[Seeds, ...]
    values: Mapping[str, Floats]  # number -> (R, C), NaN where a question has none
    known: NDArray[np.bool_]  # (R, C) before the intervention
    counts: Mapping[str, float]  # of COUNTS, mean over replicates; empty without an intervention

    @property
    def title(self) -> str:
        """Size and dose in words."""
        return f"{self.model}, deference {naming.plain(self.deference)}"

    def of(self, name: str, among: str = ALL) -> Floats:
        """(R, C): a number of all questions or of those known."""
        return self.values[name] if among == ALL else np.where(self.known, self.values[name], np.nan)

    def at(self, seeds: Sequence[Seeds], name: str, among: str = ALL) -> Floats:
        """The same of some replicates, in this order."""
        return self.of(name, among)[[self.seeds.index(one) for one in seeds]]

    def questions(self, name: str, among: str = ALL) -> int:
        """How many questions have the number, in the replicate that has the fewest."""
        return int(np.isfinite(self.of(name, among)).sum(axis=1).min())


def arms(runs: Sequence[Run]) -> list[Arm]:
    """Every arm of runs that are made, smaller models and smaller doses first."""
    grouped: dict[tuple[str, float, str], dict[Seeds, tuple[Run, Framings]]] = {}
    for run in runs:
        if run.status == "made":
            grouped.setdefault(_arm(run), {})[_seeds(run)] = run, framings(run, FIRST)
    found = []
    for (model, dose, intervention), of in grouped.items():
        before = grouped.get((model, dose, NOTHING), {})
        found.append(_read(model, dose, intervention, dict(sorted(of.items())), before))
    return sorted(found, key=lambda arm: (arm.parameters, arm.deference, ORDER.index(arm.intervention)))


ORDER = (NOTHING, SYNTHETIC, UNFILTERED, MORE)


def _arm(run: Run) -> tuple[str, float, str]:
    return (
        run.choices["model"],
        float(run.config["task"].get("deference", 0.0)),
        naming.intervention(run) or NOTHING,
    )


def _seeds(run: Run) -> Seeds:
    return tuple(run.config[part]["seed"] for part in ("model", "sft"))


def _read(
    model: str,
    dose: float,
    intervention: str,
    of: Mapping[Seeds, tuple[Run, Framings]],
    before: Mapping[Seeds, tuple[Run, Framings]],
) -> Arm:
    read = [one for _, one in of.values()]
    questions = read[0].cells["plain"].question
    if any(not np.array_equal(one.cells["plain"].question, questions) for one in read):
        raise ValueError(f"{model}, deference {dose:g}: runs differ in questions, so they are no replicates")
    values = {name: np.array([_values(one, name, questions) for one in read]) for name in NUMBERS}
    known = [before[seeds][1].known if seeds in before else None for seeds in of]
    among = np.array([np.isin(questions, [] if one is None else one) for one in known])
    first = next(iter(of.values()))[0]
    counts = [] if intervention == NOTHING else [_counts(run) for run, _ in of.values()]
    means = {name: float(np.mean([one[name] for one in counts])) for name in COUNTS if counts}
    size = parameters_of(first.config["model"])
    return Arm(model, size, dose, intervention, tuple(of), values, among, means)


def _values(of: Framings, name: str, questions: NDArray[np.int64]) -> Floats:
    """(C,): a number of each question, NaN where it was not asked."""
    found = np.full(len(questions), np.nan)
    if name == LOST:
        share = sycophancy.metrics(of.cells, questions, 1)["answer"]
        there = share.bottom[:, 0] > 0
        found[there] = share.top[there, 0] / share.bottom[there, 0]
    elif name in of.cells:
        cells = of.cells[name]
        found[np.searchsorted(questions, cells.question)] = cells.means["right"][:, 0]
    return found


def _counts(run: Run) -> dict[str, Any]:
    return run.stage_metrics("intervention")[0]


# --- numbers ------------------------------------------------------------------------------------------------


def common(*of: Arm) -> list[Seeds]:
    """Seeds of the replicates that all arms have."""
    return [seeds for seeds in of[0].seeds if all(seeds in one.seeds for one in of)]


def number(arm: Arm, name: str, among: str = ALL) -> Estimate:
    """A number of one arm; an accuracy that is the same of all questions still has an SE."""
    values = arm.of(name, among)
    return supervision.estimate(values) if name == LOST else supervision.rate(values)


def less(one: Arm, other: Arm, name: str, among: str = ALL) -> Estimate:
    """A number of an arm minus that of another, paired by seeds and question; ValueError without a pair."""
    seeds = common(one, other)
    if not seeds:
        raise ValueError(f"{one.title} and {other.title} have no seeds in common")
    return supervision.estimate(one.at(seeds, name, among) - other.at(seeds, name, among))


def slope(of: Sequence[Arm], x: Sequence[float], name: str, among: str = ALL) -> Estimate:
    """Of a number on `x`, one an arm, by least squares within each replicate and question."""
    seeds = common(*of)
    if not seeds:
        raise ValueError("no replicate has all arms of a slope")
    away = np.asarray(x) - np.mean(x)
    values = np.stack([arm.at(seeds, name, among) for arm in of], axis=-1)
    return supervision.estimate(values @ away / (away**2).sum())


def table(found: Sequence[Arm]) -> pd.DataFrame:
    """One row an arm, number and group of questions: the mean over replicates with its 95 % interval."""
    rows = []
    for arm in found:
        for name in NUMBERS:
            for among in (ALL, KNOWN):
                of = number(arm, name, among)
                rows.append(
                    {"model": arm.model, "parameters": arm.parameters, "deference": arm.deference}
                    | {"intervention": arm.intervention, "number": name, "among": among}
                    | of.row("value")
                    | {"questions": arm.questions(name, among), "replicates": of.replicates}
                )
    return pd.DataFrame(rows)
