"""Doubt of a policy's own first answers less its control, before and after optimisation (2310.13548, Figure 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.behaviour.second_turns import MEASURES, SECOND, Rates, Turns, interval_of, rates, turns_of
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs.arms import BEST_OF_N, Unsuited, title
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, by_estimate, thresholds
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "are_you_sure"
SWEEPS = ("are_you_sure",)
HONEST, SYCOPHANTIC, SFT = "honest labeler", "sycophantic labeler", "SFT"
CLAIMED = "right_to_wrong"


class Arm(NamedTuple):
    """Replicates of one who speaks."""

    method: str
    who: str  # SFT, or the labeler that the policy was optimised for
    turns: dict[str, Turns]  # by seeds of the replicate
    kl: float  # nats, mean over replicates; of best-of-n the bound

    def of(self, measure: str, known: bool = False, seeds: Sequence[str] | None = None) -> Rates:
        """A measure of these replicates, or of some."""
        return rates([self.turns[one] for one in seeds or self.turns], MEASURES[measure], known)


def make(runs: Sequence[Run]) -> FigureResult:
    """Every measure of doubt less its control, a panel a method: SFT, and policies by their labeler."""
    found = arms(runs)
    fits = differences(found)
    return FigureResult(table(found), fits, claims(found, thresholds(NAME)), draw(found), notes(found))


def arms(runs: Sequence[Run]) -> list[Arm]:
    """Of each method SFT and each labeler; MissingRuns where none has second turns."""
    grouped: dict[str, dict[str, list[Run]]] = {}
    for run in runs:
        if run.status == "made" and run.config["score"].get("second_turns"):
            grouped.setdefault(_method(run), {}).setdefault(_labeler(run), []).append(run)
    if not grouped:
        raise MissingRuns("no run with score.second_turns above 0 is made")
    found = []
    for method in sorted(grouped, key=lambda method: (method != BEST_OF_N, method)):
        of = {who: _read(grouped[method][who]) for who in sorted(grouped[method])}  # honest first
        before = next(iter(of.values()))
        found.append(Arm(method, SFT, {seeds: turns[False] for seeds, (_, turns) in before.items()}, 0.0))
        for who, read in of.items():
            kl = float(np.mean([kl for kl, _ in read.values()]))
            found.append(Arm(method, who, {seeds: turns[True] for seeds, (_, turns) in read.items()}, kl))
    return found


def _method(run: Run) -> str:
    return BEST_OF_N if run.method == "BestOfN" else run.choices["policy"]


def _labeler(run: Run) -> str:
    honest = run.choices["labeler"] == "gold_argmax" or run.config["labeler"].get("bonus") == 0
    if not honest and run.choices["labeler"] != "sycophantic":
        raise Unsuited(f"run {run.key[:8]} has labels of {run.choices['labeler']}: no arm of this figure")
    return HONEST if honest else SYCOPHANTIC


def _read(runs: Sequence[Run]) -> dict[str, tuple[float, dict[bool, Turns]]]:
    """Seeds -> KL and second turns of a run; Unsuited where two runs have the same."""
    found: dict[str, tuple[float, dict[bool, Turns]]] = {}
    for run in runs:
        seeds = "/".join(str(run.config[part]["seed"]) for part in ("rm", "preferences", "policy"))
        if seeds in found:
            raise Unsuited(f"run {run.key[:8]} and another differ in more than labeler, method and seeds")
        found[seeds] = _kl(run), turns_of(run.second_turns())
    return found


def _kl(run: Run) -> float:
    """Mean KL of the last checkpoint; of best-of-n the bound at the n of its second turns."""
    if run.method == "BestOfN":
        n = run.config["policy"]["samples"] // 4
        return float(np.log(n) - (n - 1) / n)
    rows = run.rows(["checkpoint", "kl"])
    step, kl = (rows[name].to_numpy() for name in ("checkpoint", "kl"))
    return float(kl[step == step.max()].mean())


# --- claims -------------------------------------------------------------------------------------------------


class Compared(NamedTuple):
    """One arm minus another in what doubt adds."""

    arm: Arm
    other: Arm
    measure: str
    known: bool
    estimate: Estimate
    questions: int
    replicates: int


def compared(arm: Arm, other: Arm, measure: str, known: bool = False) -> Compared | None:
    """Paired by seeds and by question; None without a replicate that both have."""
    seeds = [one for one in arm.turns if one in other.turns]
    if not seeds:
        return None
    mine, its = arm.of(measure, known, seeds), other.of(measure, known, seeds)
    apart = Estimate.of(mine.difference - its.difference)
    return Compared(arm, other, measure, known, apart, min(mine.questions, its.questions), len(seeds))


def pairs(found: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """The sycophantic policy against the honest one, and each policy against SFT, of each method."""
    made = []
    for method in dict.fromkeys(arm.method for arm in found):
        own = {arm.who: arm for arm in found if arm.method == method}
        wanted = ((SYCOPHANTIC, HONEST), (HONEST, SFT), (SYCOPHANTIC, SFT))
        made += [(own[one], own[two]) for one, two in wanted if one in own and two in own]
    return made


def claims(found: Sequence[Arm], limits: Thresholds) -> list[Claim]:
    """Sycophantic labels add flips from right to wrong to what honest ones do, which leave SFT as it is."""
    made = []
    for arm, other in pairs(found):
        one = compared(arm, other, CLAIMED)
        if one is None or (arm.who, other.who) == (SYCOPHANTIC, SFT):
            continue
        subject = f"{title(arm.method)}, {arm.who}"
        about: dict[str, Any] = {"unit": "share of right first answers", "subject": subject}
        if other.who == HONEST:
            made.append(
                by_estimate(
                    f"{subject}: doubt turns more right answers wrong, beyond its control, than after the {HONEST}",
                    one.estimate,
                    limits["more_flips"],
                    one.questions,
                    topic="more right to wrong",
                    **about,
                )
            )
        else:
            rule = limits["as_before"]
            made.append(
                by_equivalence(
                    f"{subject}: doubt turns as many right answers wrong, beyond its control, as in SFT",
                    one.estimate,
                    -rule["margin"],
                    rule["margin"],
                    one.questions,
                    enough=one.replicates >= rule["replicates"],
                    topic="as SFT",
                    **about,
                )
            )
    return made


# --- tables -------------------------------------------------------------------------------------------------


def table(found: Sequence[Arm]) -> pd.DataFrame:
    """One row an arm and measure, of all first answers and of those to known questions, and one a replicate."""
    rows = []
    for arm in found:
        for measure in MEASURES:
            for known in (False, True):
                rows += _rows(arm, measure, known)
    return pd.DataFrame(rows)


def _rows(arm: Arm, measure: str, known: bool) -> list[dict[str, Any]]:
    seen = arm.of(measure, known)
    about = {"method": arm.method, "who": arm.who, "kl": arm.kl, "measure": measure, "known": known}
    about |= {"questions": seen.questions, "answers": seen.answers, "replicates": len(arm.turns)}
    apart = Estimate.of(seen.difference)
    mean: dict[str, Any] = {"curve": "mean"} | apart.row("difference")
    for turn in SECOND:
        draws = getattr(seen, turn)
        bounds = interval_of(draws, seen.questions) if np.isfinite(draws[0]).all() else (np.nan, np.nan)
        mean |= {turn: draws[0].mean(), f"{turn}_lo": bounds[0], f"{turn}_hi": bounds[1]}
    rows = [about | mean]
    for place, seeds in enumerate(arm.turns):
        own = {turn: getattr(seen, turn)[0, place] for turn in SECOND}
        own |= {"curve": "replicate", "replicate": seeds, "difference": seen.difference[0, place]}
        rows.append(about | own)
    return rows


def differences(found: Sequence[Arm]) -> pd.DataFrame:
    """One arm minus another in what doubt adds, every measure, of all first answers and of known ones."""
    rows = []
    for arm, other in pairs(found):
        for measure in MEASURES:
            for known in (False, True):
                one = compared(arm, other, measure, known)
                if one is None:
                    continue
                rows.append(
                    {
                        "method": arm.method,
                        "form": f"{arm.who} minus {other.who}",
                        "parameter": measure,
                        "known": known,
                        **one.estimate.row(),
                        "n": one.questions,
                        "replicates": one.replicates,
                    }
                )
    return pd.DataFrame(rows)


def notes(found: Sequence[Arm]) -> list[str]:
    """Of each arm what a reader must know beside differences: how much is known, and what was not claimed at all."""
    told = []
    for arm in found:
        turns = list(arm.turns.values())
        silent = np.mean([np.mean(one.first == 0) for one in turns])
        right = np.mean([np.mean(one.first > 0) for one in turns])
        known = np.mean([len(np.unique(one.question[one.known])) for one in turns])
        asked = np.mean([len(np.unique(one.question)) for one in turns])
        told.append(
            f"{title(arm.method)}, {arm.who}: first answers right {right:.2f}, without a claim {silent:.2f} (these are "
            f"in no rate); known by separate answers: {known:.0f} of {asked:.0f} questions"
        )
    return told


# --- ink ----------------------------------------------------------------------------------------------------

COLOURS = {SFT: "0.45", HONEST: "#3c6fb5", SYCOPHANTIC: "#d1495b"}


def draw(found: Sequence[Arm]) -> Figure:
    """Dots with 95 % intervals, a row a measure: filled of all first answers, open of those to known questions."""
    methods = list(dict.fromkeys(arm.method for arm in found))
    figure, axes = theme.panels(len(methods), 3.5)
    for panel, method in zip(axes, methods, strict=True):
        own = [arm for arm in found if arm.method == method]
        for place, arm in enumerate(own):
            _draw_arm(panel, arm, (place - (len(own) - 1) / 2) * 0.28)
        for row in range(1, len(MEASURES)):
            panel.axhline(row - 0.5, color="0.92", linewidth=0.6, zorder=0)
        panel.axvline(0, color="0.75", linewidth=0.6, zorder=0)
        panel.set_title(title(method), loc="left")
        panel.locator_params(axis="x", nbins=6)
        panel.set_xlabel("rate when doubted minus when asked again")
    axes[0].set_yticks(range(len(MEASURES)), [measure.words for measure in MEASURES.values()])
    axes[0].set_ylim(len(MEASURES) - 0.5, -0.5)
    theme_keys = [theme.key(who, COLOURS[who], marker="o") for who in COLOURS if _has(found, who)]
    theme_keys.append(theme.key("questions it knows", "0.2", marker="o", markerfacecolor="white"))
    figure.legend(handles=theme_keys, loc="outside lower center", ncols=4)
    return figure


def _has(found: Sequence[Arm], who: str) -> bool:
    return any(arm.who == who for arm in found)


def _draw_arm(panel: Axes, arm: Arm, shift: float) -> None:
    for row, measure in enumerate(MEASURES):
        for known, face, offset in ((False, COLOURS[arm.who], -0.06), (True, "white", 0.06)):
            one = Estimate.of(arm.of(measure, known).difference)
            if not np.isfinite(one.value):
                continue
            lo, hi = one.interval()
            y, colour = row + shift + offset, COLOURS[arm.who]
            panel.plot(
                [lo, hi], [y, y], color=colour, linewidth=0.9 if known else 1.3, alpha=0.6 if known else 1
            )
            panel.plot(one.value, y, "o", color=colour, markersize=3 if known else 4, markerfacecolor=face)
