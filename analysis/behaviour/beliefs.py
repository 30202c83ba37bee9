"""Accuracy with nothing stated, after a right and after a wrong belief: SFT's answers before and after an intervention.

An arm is a size, a dose of deference and what was done after SFT; its replicates differ in the seeds of model and SFT.
What is known is decided on answers before the intervention, in every arm alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.behaviour import supervision, sycophancy
from analysis.behaviour.answer_shares import ALL, KNOWN
from analysis.behaviour.framings import Framings, framings
from analysis.runs import naming
from analysis.runs.arms import parameters_of, runs_by
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
INTERVENTIONS = ("none", "synthetic data", "synthetic data, no filter", "more demonstrations")
NOTHING, SYNTHETIC, UNFILTERED, MORE = INTERVENTIONS
COUNTS = ("questions", "known", "kept")  # of training, as the intervention found them
OTHER = ("policy", "rm", "preferences", "labeler", "score")  # sections that change none of SFT's answers
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
        return self.of(name, among)[[self.seeds.index(replicate) for replicate in seeds]]

    def questions(self, name: str, among: str = ALL) -> int:
        """How many questions have the number, in the replicate that has the fewest."""
        return int(np.isfinite(self.of(name, among)).sum(axis=1).min())


def arms(runs: Sequence[Run]) -> list[Arm]:
    """Return every arm of the runs that are made, smaller models and smaller doses first."""
    grouped = {
        arm: {_seeds(run): (run, framings(run, FIRST)) for run in replicates}
        for arm, replicates in runs_by((run for run in runs if run.status == "made"), _arm, *OTHER).items()
    }
    arms = []
    for (model, dose, intervention), replicates in grouped.items():
        before = grouped.get((model, dose, NOTHING), {})
        arms.append(_read(model, dose, intervention, dict(sorted(replicates.items())), before))
    return sorted(
        arms, key=lambda arm: (arm.parameters, arm.deference, INTERVENTIONS.index(arm.intervention))
    )


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
    replicates: Mapping[Seeds, tuple[Run, Framings]],
    before: Mapping[Seeds, tuple[Run, Framings]],
) -> Arm:
    framed = [framings for _, framings in replicates.values()]
    questions = framed[0].cells["plain"].question
    if any(not np.array_equal(framings.cells["plain"].question, questions) for framings in framed):
        raise ValueError(f"{model}, deference {dose:g}: runs differ in questions, so they are no replicates")
    values = {name: np.array([_values(framings, name, questions) for framings in framed]) for name in NUMBERS}
    known = np.zeros((len(framed), len(questions)), dtype=bool)
    for row, seeds in enumerate(replicates):
        known_before = before[seeds][1].known if seeds in before else None
        if known_before is not None:
            known[row] = np.isin(questions, known_before)
    runs = [run for run, _ in replicates.values()]
    counts = [] if intervention == NOTHING else [run.stage_metrics("intervention")[0] for run in runs]
    return Arm(
        model=model,
        parameters=parameters_of(runs[0].config["model"]),
        deference=dose,
        intervention=intervention,
        seeds=tuple(replicates),
        values=values,
        known=known,
        counts={name: float(np.mean([count[name] for count in counts])) for name in COUNTS if counts},
    )


def _values(framings: Framings, name: str, questions: NDArray[np.int64]) -> Floats:
    """(C,): a number of each question, NaN where it was not asked."""
    values = np.full(len(questions), np.nan)
    if name == LOST:
        share = sycophancy.metrics(framings.cells, questions, 1)["answer"]
        asked = share.bottom[:, 0] > 0
        values[asked] = share.top[asked, 0] / share.bottom[asked, 0]
    elif name in framings.cells:
        cells = framings.cells[name]
        values[np.searchsorted(questions, cells.question)] = cells.means["right"][:, 0]
    return values


# --- numbers ------------------------------------------------------------------------------------------------


def common(*arms: Arm) -> list[Seeds]:
    """Return the seeds of the replicates that all arms have."""
    return [seeds for seeds in arms[0].seeds if all(seeds in arm.seeds for arm in arms)]


def number(arm: Arm, name: str, among: str = ALL) -> Estimate:
    """A number of one arm; an accuracy that is the same of all questions still has an SE."""
    values = arm.of(name, among)
    return supervision.estimate(values) if name == LOST else supervision.rate(values)


def less(arm: Arm, other: Arm, name: str, among: str = ALL) -> Estimate:
    """Return a number of an arm minus that of another, paired by seeds and question.

    Raises ValueError where they have no seeds in common.
    """
    seeds = common(arm, other)
    if not seeds:
        raise ValueError(f"{arm.title} and {other.title} have no seeds in common")
    return supervision.estimate(arm.at(seeds, name, among) - other.at(seeds, name, among))


def slope(arms: Sequence[Arm], x: Sequence[float], name: str, among: str = ALL) -> Estimate:
    """Return the slope of a number on `x`, one an arm, by least squares within each replicate and question."""
    seeds = common(*arms)
    if not seeds:
        raise ValueError("no replicate has all arms of a slope")
    centred = np.asarray(x) - np.mean(x)
    values = np.stack([arm.at(seeds, name, among) for arm in arms], axis=-1)
    return supervision.estimate(values @ centred / (centred**2).sum())


def table(arms: Sequence[Arm]) -> pd.DataFrame:
    """Return one row an arm, number and group of questions: the mean over replicates with its 95 % interval."""
    rows = []
    for arm in arms:
        for name in NUMBERS:
            for among in (ALL, KNOWN):
                estimate = number(arm, name, among)
                rows.append(
                    {
                        "model": arm.model,
                        "parameters": arm.parameters,
                        "deference": arm.deference,
                        "intervention": arm.intervention,
                        "number": name,
                        "among": among,
                        **estimate.row("value"),
                        "questions": arm.questions(name, among),
                        "replicates": estimate.replicates,
                    }
                )
    return pd.DataFrame(rows)
