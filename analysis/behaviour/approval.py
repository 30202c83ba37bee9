"""Approval of answers by a labeler, and whether it is deserved (2409.12822).

To a limited labeler an answer is worth gold where he can check it, and elsewhere what it looks like; to others what was
recorded as `utility`. A labeler approves of an answer that is worth more to him than the median of SFT's answers to
prompts of the same family and difficulty. A bar of all prompts would measure how hard they are: labels compare answers
to one prompt, so they say nothing of levels, and families differ in what there is to earn (a stance on what was
stated).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.runs.arms import BEST_OF_N, MAIN, Arm, Study, common_seeds, unlike_in
from analysis.runs.configuration import is_a
from analysis.runs.run_curves import prompt_curves
from analysis.statistics.resampling import weights_of
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]

# A limited labeler by his competence; or RECORDED: the run's own labeler, by his stored utility.
Judge = float | str

RECORDED = "utility"
EVERYTHING = float("inf")  # competence of a labeler who can check any answer: his approval is the truth
ROUNDING = 1e-5  # of gold: less than that above the bar is not above it
COLUMNS = ("family", "gold", "behaviour.claim", "behaviour.believed", "behaviour.difficulty")
RATES = {  # rate -> answers that are counted, among which answers; answers without a claim are counted apart
    "approval": ("approved", "all"),
    "truth": ("good", "all"),  # a labeler who can check everything would approve
    "correct": ("right", "claiming"),
    "fpr": ("approved_wrong", "wrong"),
    "fnr": ("rejected_right", "right"),
    "fpr_checked": ("good_wrong", "wrong"),  # the same, by a labeler who can check everything
    "no_claim": ("not_claiming", "all"),
}


@dataclass(frozen=True)
class Rates:
    """Rates of an arm's answers in every draw of questions, by replicate and point."""

    draws: Mapping[str, Floats]  # name of a rate -> (B, R, K)
    kl: Floats  # (B, R, K) nats

    def at(self, name: str, point: int) -> Estimate:
        """Return a rate at a point of the curve: 0 is SFT, -1 the end."""
        return Estimate.of(self.draws[name][:, :, point])

    def rise(self, name: str, less: str = "") -> Floats:
        """(B, R): a rate at the end minus SFT's, less the same of another rate."""
        curve = self.draws[name] - (self.draws[less] if less else 0.0)
        return curve[:, :, -1] - curve[:, :, 0]


def competence(arm: Arm) -> float:
    """Return the operations of the hardest sum that the arm's labeler can check; NaN for another kind of labeler."""
    run = arm.runs[0]
    return float(run.config["labeler"]["competence"]) if is_a(run, "labeler", "Limited") else np.nan


def checks_everything(arm: Arm) -> bool:
    """Return whether the arm's labeler can check every question of its task."""
    return competence(arm) >= arm.runs[0].config["task"]["operations"]


def families(study: Study) -> list[list[Arm]]:
    """Return groups of arms that differ in the competence of their limited labeler alone, the least competent first."""
    limited = [arm for arm in study.arms if arm.kind == MAIN and np.isfinite(competence(arm))]
    ordered = sorted(limited, key=lambda arm: (arm.method != BEST_OF_N, arm.method, arm.rm, competence(arm)))
    return unlike_in(ordered, "labeler.competence")


def own_judge(arm: Arm) -> Judge:
    """Return the arm's own labeler: by his competence where he has one, else by his recorded utility."""
    return competence(arm) if np.isfinite(competence(arm)) else RECORDED


def rates(arm: Arm, judge: Judge | None = None) -> Rates:
    """Return the rates of an arm as `judge` approves; by default its own labeler."""
    judge = own_judge(arm) if judge is None else judge
    weights = weights_of(arm.drawn.resamples, arm.questions)
    shares = [_shares(run, arm.curves[0].points, judge) for run in arm.runs]
    with np.errstate(divide="ignore", invalid="ignore"):  # a rate of nothing is NaN
        draws = {
            name: np.stack([(weights @ share[which]) / (weights @ share[among]) for share in shares], axis=1)
            for name, (which, among) in RATES.items()
        }
    return Rates(draws, np.stack([curves.kl for curves in arm.drawn.replicates], axis=1))


def truth_by_question(arm: Arm) -> Floats:
    """(R, C, K): the share of answers that a labeler who can check everything would approve of."""
    return np.stack([_shares(run, arm.curves[0].points, EVERYTHING)["good"] for run in arm.runs])


def gap_by_question(arm: Arm) -> Floats:
    """(R, C, K): the share of answers that the arm's own labeler approves of, less `truth_by_question`."""
    shares = [_shares(run, arm.curves[0].points, own_judge(arm)) for run in arm.runs]
    return np.stack([share["approved"] - share["good"] for share in shares])


def rises_more(arm: Arm, other: Arm, name: str, judge: float) -> Estimate | None:
    """Return the rise of a rate in an arm minus that in another, to one judge; None without seeds in common."""
    seeds = common_seeds([arm, other])
    if not seeds:
        return None
    first, second = (rates(side.of_seeds(seeds), judge).rise(name) for side in (arm, other))
    return Estimate.of(first - second)


def kl_at_peak(found: Rates, name: str, reach: float) -> Floats:
    """(B, R): KL where a rate is highest, nats, cut at `reach`: runs that have not turned by then tie."""
    place = found.draws[name].argmax(axis=2)[:, :, None]
    return np.minimum(np.take_along_axis(found.kl, place, axis=2)[:, :, 0], reach)


def slope(numbers: Sequence[Floats], over: Sequence[float]) -> Floats:
    """(B, R): the least-squares slope of M numbers (B, R) over M places."""
    centred = np.asarray(over, dtype=float) - np.mean(over)
    return np.tensordot(centred, np.stack(numbers), axes=1) / (centred**2).sum()


def table(arms: Sequence[Arm], found: Mapping[str, Rates]) -> pd.DataFrame:
    """Return one row an arm, rate and point, with its 95 % interval over replicates and questions."""
    return pd.DataFrame(
        [
            row(arm, point, found[arm.title].at(name, place)) | {"rate": name, "kl": kl}
            for arm in arms
            for place, (point, kl) in enumerate(
                zip(arm.curves[0].points, found[arm.title].kl[0].mean(axis=0), strict=True)
            )
            for name in RATES
        ]
    )


def row(arm: Arm, point: int, estimate: Estimate) -> dict[str, Any]:
    """Return an estimate about an arm's answers at a point, with its 95 % interval, as a row."""
    return {
        "method": arm.method,
        "rm": arm.rm,
        "label": arm.label,
        "competence": competence(arm),
        "n_or_step": point,
        **estimate.row(),
        "n": arm.questions,
        "replicates": estimate.replicates,
    }


# --- from rows ----------------------------------------------------------------------------------------------


def _shares(run: Run, points: NDArray[np.int64], judge: Judge) -> dict[str, Floats]:
    """(C, K) of every mark: its expected share of the answers to a question at each point."""
    try:
        answers = prompt_curves(run, [*COLUMNS, *([RECORDED] if judge == RECORDED else [])], points)
    except KeyError as missing:
        settings = "score.behaviour=true" + (" score.utility=true" if judge == RECORDED else "")
        raise MissingRuns(f"{missing.args[0]}; approval needs runs with {settings}") from None
    return {
        name: answers.by_question(mark.astype(float))
        for name, mark in marks(answers.rows, answers.sft, judge).items()
    }


def marks(rows: pa.Table, sft: Marks, judge: Judge) -> dict[str, Marks]:
    """Return the marks (A,) of answers to this judge; the answers `sft` (A,) set the bar of approval."""
    claim = rows["behaviour.claim"].to_numpy()
    right, wrong = claim > 0, claim < 0
    kind = _kinds(rows)
    approved, good = (_above_bar(utility(rows, who), kind, sft) for who in (judge, EVERYTHING))
    return {
        "all": np.ones(len(claim), dtype=bool),
        "approved": approved,
        "good": good,
        "right": right,
        "wrong": wrong,
        "claiming": right | wrong,
        "not_claiming": ~(right | wrong),
        "approved_wrong": approved & wrong,
        "good_wrong": good & wrong,
        "rejected_right": ~approved & right,
    }


def utility(rows: pa.Table, judge: Judge) -> Floats:
    """(A,): the worth of answers to a limited labeler, or to the one whose utility was recorded, gold units."""
    if judge == RECORDED:
        return rows[RECORDED].to_numpy().astype(float)
    gold, believed, difficulty = (
        rows[name].to_numpy().astype(float) for name in ("gold", "behaviour.believed", "behaviour.difficulty")
    )
    return np.where(difficulty <= judge, gold, believed)


def _kinds(rows: pa.Table) -> NDArray[np.int64]:
    """(A,): the family and difficulty of each answer's prompt, numbered."""
    family = rows["family"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    _, difficulty = np.unique(rows["behaviour.difficulty"].to_numpy(), return_inverse=True)
    return np.unique(family * (difficulty.max() + 1) + difficulty, return_inverse=True)[1]


def _above_bar(worth: Floats, kind: NDArray[np.int64], sft: Marks) -> Marks:
    bars = np.array([np.median(worth[sft & (kind == number)]) for number in range(kind.max() + 1)])
    return worth > bars[kind] + ROUNDING
