"""Doubt of a policy's own first answers less its control, before and after optimisation (2310.13548, Figure 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

from analysis.behaviour.second_turns import MEASURES, SECOND, Rates, Turns, interval_of, rates, turns_of
from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import naming
from analysis.runs.arms import BEST_OF_N, Unsuited, runs_by, title
from analysis.runs.configuration import is_a
from analysis.runs.tables import estimate_row
from analysis.statistics.claims import ClaimTable
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "are_you_sure"
SWEEPS = ("are_you_sure",)

HONEST, SYCOPHANTIC, SFT = "honest labeler", "sycophantic labeler", "SFT"
PAIRS = ((SYCOPHANTIC, HONEST), (HONEST, SFT), (SYCOPHANTIC, SFT))  # the first is compared with the second
CLAIMED = "right_to_wrong"
COLOURS = {SFT: "0.45", HONEST: "#3c6fb5", SYCOPHANTIC: "#d1495b"}
KNOWN_OPACITY = 0.45  # of points of the questions that are known


class Arm(NamedTuple):
    """The replicates of SFT, or of a policy by its labeler, under one method."""

    method: str
    who: str  # SFT, or the labeler that the policy was optimised for
    turns: dict[str, Turns]  # by the seeds of the replicate
    kl: float  # nats, mean over replicates; of best-of-n the bound

    @property
    def title(self) -> str:
        """Method and labeler in words."""
        return f"{title(self.method)}, {self.who}"

    def rates(self, measure: str, known: bool = False, seeds: Sequence[str] | None = None) -> Rates:
        """Return a measure of all replicates, or of those with these `seeds`."""
        return rates([self.turns[name] for name in seeds or self.turns], MEASURES[measure], known)


class Difference(NamedTuple):
    """What doubt adds in one arm minus what it adds in another."""

    estimate: Estimate
    questions: int


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw every measure of doubt less its control: a panel for each method, a colour for SFT and each labeler."""
    arms = arms_of(runs)
    claims = ClaimTable(NAME, "share of right first answers")
    for arm, other in pairs(arms):
        difference = less(arm, other, CLAIMED)
        if difference is not None and other.who == HONEST:
            claim_more_flips(claims, arm, difference)
        if difference is not None and (arm.who, other.who) == (HONEST, SFT):
            claim_as_before(claims, arm, difference)
    table = pd.DataFrame([row for arm in arms for row in rate_rows(arm)])
    fits = pd.DataFrame([row for arm, other in pairs(arms) for row in difference_rows(arm, other)])
    return FigureResult(table, fits, claims, draw(arms), notes(arms))


def arms_of(runs: Sequence[Run]) -> list[Arm]:
    """Return SFT and each labeler's policy for each method, best-of-n first; MissingRuns without second turns."""
    read = [run for run in runs if run.status == "made" and run.config["score"].get("second_turns")]
    grouped: dict[str, dict[str, list[Run]]] = {}
    for (method, who), replicates in runs_by(read, lambda run: (naming.method(run), labeler(run))).items():
        grouped.setdefault(method, {})[who] = replicates
    if not grouped:
        raise MissingRuns("the figure needs runs with score.second_turns above 0")
    arms = []
    for method in sorted(grouped, key=lambda method: (method != BEST_OF_N, method)):
        replicates = {who: by_seeds(grouped[method][who]) for who in sorted(grouped[method])}  # honest first
        turns = {
            who: {seeds: turns_of(run.second_turns()) for seeds, run in by_seed.items()}
            for who, by_seed in replicates.items()
        }
        before = next(iter(turns.values()))
        arms.append(Arm(method, SFT, {seeds: turn[False] for seeds, turn in before.items()}, 0.0))
        for who, after in turns.items():
            kl = float(np.mean([final_kl(run) for run in replicates[who].values()]))
            arms.append(Arm(method, who, {seeds: turn[True] for seeds, turn in after.items()}, kl))
    return arms


def labeler(run: Run) -> str:
    """Return which labeler a run's policy was optimised for; Unsuited for another labeler."""
    if run.choices["labeler"] == "gold_argmax" or (
        is_a(run, "labeler", "Sycophantic") and run.config["labeler"]["bonus"] == 0
    ):
        return HONEST
    if run.choices["labeler"] != "sycophantic":
        raise Unsuited(f"run {run.key[:8]} has labels of {run.choices['labeler']}: no arm of this figure")
    return SYCOPHANTIC


def by_seeds(runs: Sequence[Run]) -> dict[str, Run]:
    """Return the runs by their seeds; Unsuited where two runs have the same."""
    replicates: dict[str, Run] = {}
    for run in runs:
        seeds = "/".join(str(run.config[part]["seed"]) for part in ("rm", "preferences", "policy"))
        if seeds in replicates:
            raise Unsuited(f"run {run.key[:8]} and another differ in more than labeler, method and seeds")
        replicates[seeds] = run
    return replicates


def final_kl(run: Run) -> float:
    """Return the mean KL in nats of the last checkpoint; of best-of-n, the bound at the n of its second turns."""
    if run.method == "BestOfN":
        n = run.config["policy"]["samples"] // 4
        return float(np.log(n) - (n - 1) / n)
    rows = run.rows(["checkpoint", "kl"])
    step, kl = (rows[name].to_numpy() for name in ("checkpoint", "kl"))
    return float(kl[step == step.max()].mean())


def pairs(arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Return the pairs of arms of each method that are compared."""
    by_name = {(arm.method, arm.who): arm for arm in arms}
    return [
        (by_name[method, first], by_name[method, second])
        for method in dict.fromkeys(arm.method for arm in arms)
        for first, second in PAIRS
        if (method, first) in by_name and (method, second) in by_name
    ]


def less(arm: Arm, other: Arm, measure: str, known: bool = False) -> Difference | None:
    """Return one arm minus another, paired by seeds and question; None where they have no replicate in common."""
    seeds = [name for name in arm.turns if name in other.turns]
    if not seeds:
        return None
    first, second = arm.rates(measure, known, seeds), other.rates(measure, known, seeds)
    estimate = Estimate.of(first.difference - second.difference)
    return Difference(estimate, min(first.questions, second.questions))


# --- claims -------------------------------------------------------------------------------------------------


def claim_more_flips(claims: ClaimTable, arm: Arm, difference: Difference) -> None:
    """Claim `more_flips`: doubt turns more right answers wrong after sycophantic labels than after honest ones."""
    claims.above(
        "more_flips",
        arm.title,
        f"doubt turns more right answers wrong, beyond its control, than after the {HONEST}",
        difference.estimate,
        difference.questions,
        "more right to wrong",
    )


def claim_as_before(claims: ClaimTable, arm: Arm, difference: Difference) -> None:
    """Claim `as_before`: after honest labels doubt turns as many right answers wrong as in SFT."""
    claims.equivalent(
        "as_before",
        arm.title,
        "doubt turns as many right answers wrong, beyond its control, as in SFT",
        difference.estimate,
        difference.questions,
        "as SFT",
    )


# --- tables -------------------------------------------------------------------------------------------------


def rate_rows(arm: Arm) -> Iterator[dict[str, Any]]:
    """Yield each measure, of all first answers and of those to known questions: the mean, then each replicate."""
    for measure in MEASURES:
        for known in (False, True):
            result = arm.rates(measure, known)
            named = {"method": arm.method, "who": arm.who, "kl": arm.kl, "measure": measure, "known": known}
            named |= {"questions": result.questions, "answers": result.answers, "replicates": len(arm.turns)}
            mean: dict[str, Any] = {"curve": "mean", **Estimate.of(result.difference).row("difference")}
            for turn in SECOND:
                draws = getattr(result, turn)
                defined = np.isfinite(draws[0]).all()
                lo, hi = interval_of(draws, result.questions) if defined else (np.nan, np.nan)
                mean |= {turn: draws[0].mean(), f"{turn}_lo": lo, f"{turn}_hi": hi}
            yield named | mean
            for place, seeds in enumerate(arm.turns):
                yield {
                    **named,
                    "curve": "replicate",
                    "replicate": seeds,
                    "difference": result.difference[0, place],
                    **{turn: getattr(result, turn)[0, place] for turn in SECOND},
                }


def difference_rows(arm: Arm, other: Arm) -> Iterator[dict[str, Any]]:
    """Yield one arm minus another in every measure, of all first answers and of those to known questions."""
    for measure in MEASURES:
        for known in (False, True):
            difference = less(arm, other, measure, known)
            if difference is not None:
                named = {"method": arm.method, "known": known}
                form = f"{arm.who} minus {other.who}"
                yield estimate_row(named, form, measure, difference.estimate, difference.questions)


def notes(arms: Sequence[Arm]) -> list[str]:
    """Say for each arm how many first answers are right or have no claim, and how many questions are known."""
    lines = []
    for arm in arms:
        replicates = list(arm.turns.values())
        silent = np.mean([np.mean(turns.first == 0) for turns in replicates])
        right = np.mean([np.mean(turns.first > 0) for turns in replicates])
        known = np.mean([len(np.unique(turns.question[turns.known])) for turns in replicates])
        asked = np.mean([len(np.unique(turns.question)) for turns in replicates])
        lines.append(
            f"{arm.title}: of the first answers {right:.2f} are right and {silent:.2f} have no claim (these are in no "
            f"rate); known by separate answers: {known:.0f} of {asked:.0f} questions"
        )
    return lines


# --- drawing ------------------------------------------------------------------------------------------------


def draw(arms: Sequence[Arm]) -> Figure:
    """Draw a panel for each method, a row for each measure: points with 95 % intervals, faint of known questions."""
    methods = list(dict.fromkeys(arm.method for arm in arms))
    figure, axes = theme.panels(len(methods), 4.0)
    for panel, method in zip(axes, methods, strict=True):
        of_method = [arm for arm in arms if arm.method == method]
        rows: list[tuple[float, Estimate, ColorType]] = []
        for place, arm in enumerate(of_method):
            shift = 0.3 * (place - (len(of_method) - 1) / 2)
            for row, measure in enumerate(MEASURES):
                for known, offset, opacity in ((False, -0.07, 1.0), (True, 0.07, KNOWN_OPACITY)):
                    estimate = Estimate.of(arm.rates(measure, known).difference)
                    if np.isfinite(estimate.value):
                        rows.append((row + shift + offset, estimate, (COLOURS[arm.who], opacity)))
        plot.forest(panel, rows, [measure.words for measure in MEASURES.values()])
        panel.set_ylim(len(MEASURES) - 0.5, -0.5)
        for row in range(1, len(MEASURES)):
            panel.axhline(row - 0.5, color="0.92", linewidth=0.6, zorder=0)
        panel.set_title(title(method), loc="left")
        panel.locator_params(axis="x", nbins=6)
        panel.set_xlabel("rate when doubted minus when asked again")
    drawn = {arm.who for arm in arms}
    handles = [theme.key(who, colour, marker="o") for who, colour in COLOURS.items() if who in drawn]
    handles.append(theme.key("questions it knows", "0.2", marker="o", alpha=KNOWN_OPACITY))
    plot.legend(figure, handles)
    return figure
