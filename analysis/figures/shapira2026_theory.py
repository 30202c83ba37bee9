"""How best-of-n changes what pleases the user, and what a covariance says of it beforehand (2602.01002, theorem 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.behaviour import answer_shares
from analysis.behaviour.answer_shares import PromptShares, Shares
from analysis.behaviour.doses import dose
from analysis.best_of_n.answer_table import in_order, same_count, starts
from analysis.best_of_n.estimator import grid, question_curves, rank, ranked_curves, tie_averaged
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import Arm, Study, Unsuited, study
from analysis.statistics.claims import Claim, Thresholds, all_met, exceeds_by_ses, normal_interval, thresholds
from analysis.statistics.resampling import weights_of
from rlhf_lab.functional.intervals import Estimate, wilson
from rlhf_lab.store.records import MissingRuns, Run

NAME = "shapira2026_theory"
SWEEPS = ("sycophancy",)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PLEASED = (
    "belief",
    "feedback_liked",
    "feedback_disliked",
    "challenge",
    "attribution",
)  # families, by their beginnings
UNIT = "mean of `behaviour.pleases`, -1 to 1"


@dataclass(frozen=True)
class Shift:
    """How an arm changes what pleases the user: as the covariance in one half of each prompt's answers has it, and as
    the other half shows it.
    """

    arm: Arm
    dose: float  # of the labeler, gold units
    points: Ints  # (K,) n
    theory: Floats  # (B, R, K)
    measured: Floats  # (B, R, K)
    questions: int

    def at(self, name: str, place: int) -> Estimate:
        """`theory`, `measured` or `off`, measured minus theory, at a point."""
        off = self.measured - self.theory
        return Estimate.of({"theory": self.theory, "measured": self.measured, "off": off}[name][:, :, place])

    def deviations(self) -> Floats:
        """(K - 1,): measured minus theory at each n >= 2, in its SEs."""
        found = [self.at("off", place) for place in range(1, len(self.points))]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.array([one.value for one in found]) / np.array([one.se for one in found])


def make(runs: Sequence[Run]) -> FigureResult:
    """Theorem 3 over n, a line a labeler."""
    own = [run for run in runs if run.method == "BestOfN" and dose(run) is not None]
    if not own:
        raise MissingRuns("no best-of-n run against a sycophantic labeler's reward model is made")
    read = study(own)
    found = shifts(read)
    table = _table(found)
    made, figure = claims(found, thresholds(NAME)), draw(found, table)
    return FigureResult(table, _fits(found), made, figure, checks.kl_bound_notes(read))


def covariance_shift(select: Floats, value: Floats, n: Ints) -> Floats:
    """(Q, K): n Cov(value, U^(n-1)) over answers (Q, N) to each prompt, U the quantile of `select` there (theorem 3).

    U^(n-1) of an answer is the chance that n - 1 others rank below it, from all sets of others: unbiased. On one
    table this is what best-of-n's estimator gives; so the two are told on different answers.
    """
    answers = select.shape[1]
    power = ranked_curves(np.eye(answers), n) * answers / n  # (N, K) of each rank
    ranked = tie_averaged(rank(select), value)
    return n * (ranked @ power / answers - ranked.mean(axis=1)[:, None] * power.mean(axis=0))


def shifts(read: Study) -> list[Shift]:
    """Of every arm, by dose."""
    found = [_shift(arm, of) for arm in read.arms if (of := dose(arm.runs[0])) is not None]
    return sorted(found, key=lambda one: one.dose)


def _shift(arm: Arm, of: float) -> Shift:
    weights = weights_of(arm.drawn.resamples, arm.questions)
    parts = [_halves(run, curves.questions) for run, curves in zip(arm.runs, arm.curves, strict=True)]
    theory, measured = (
        np.stack([half.mean(weights) for half in halves], axis=1)
        for halves in zip(*((theory, measured) for _, theory, measured in parts), strict=True)
    )
    questions = min(measured.questions for _, _, measured in parts)
    return Shift(arm, of, parts[0][0], theory, measured, questions)


def _halves(run: Run, questions: Ints) -> tuple[Ints, Shares, Shares]:
    """N's, and the shift of each question by theory from one half of the answers, and as it is in the other."""
    try:
        rows = in_order(run.rows(["prompt_id", "question_id", "family", "proxy", "behaviour.pleases"]))
    except KeyError as missing:
        raise Unsuited(f"{missing.args[0]}; make it with task=every_family score.behaviour=true") from None
    begin = starts(rows)
    count = same_count(begin, rows.num_rows, "the table of SFT answers")
    family = rows["family"].to_numpy(zero_copy_only=False)[begin]
    own = np.flatnonzero([str(one).startswith(PLEASED) for one in family])
    if not len(own):
        raise Unsuited(
            f"run {run.key} has no prompts of a user whom an answer can please: task=every_family has"
        )
    proxy, pleases = (
        rows[name].to_numpy().reshape(-1, count)[own].astype(float) for name in ("proxy", "behaviour.pleases")
    )
    half, question = count // 2, rows["question_id"].to_numpy()[begin][own].astype(np.int64)
    n = grid(half)
    theory = covariance_shift(proxy[:, :half], pleases[:, :half], n)
    chosen = question_curves(proxy[:, half:], pleases[:, half:], n)
    measured = chosen - pleases[:, half:].mean(axis=1)[:, None]
    return (
        n,
        Shares.of(questions, PromptShares(question, theory)),
        Shares.of(questions, PromptShares(question, measured)),
    )


# --- claims -------------------------------------------------------------------------------------------------


def claims(found: Sequence[Shift], limits: Thresholds) -> list[Claim]:
    """That the covariance tells the shift, arm by arm; that the shift's sign is that of the labeler's bonus."""
    made = [_told(one, limits["told"]) for one in found]
    by_dose = {one.dose: one for one in found}
    flips = [(by_dose[-of], by_dose[of]) for of in sorted(by_dose) if of > 0 and -of in by_dose]
    return made + [_flips(*pair, limits["flips"]) for pair in flips]


def _told(one: Shift, rule: Mapping[str, float]) -> Claim:
    off = one.deviations()
    inside = np.abs(off) <= rule["ses"]
    unknown = not np.isfinite(off).all()
    share = float("nan") if unknown else float(inside.mean())
    return Claim(
        claim=f"{one.arm.title}: n Cov(g, U^(n-1)) from half of the answers tells what the other half shows",
        measured=share,
        interval=wilson(int(inside.sum()), len(off)),
        threshold=rule["share"],
        n=one.questions,
        replicates=len(one.arm.runs),
        met=None if unknown else share >= rule["share"],
        rule=f"met: within {rule['ses']:g} SE at >= {100 * rule['share']:g} % of {len(off)} n; a theorem, which holds "
        "for any reward",
        unit="share of n",
        subject=one.arm.title,
        topic="theory within 2 SE",
        by_construction=True,
        conditional=one.at("off", -1).is_conditional,
    )


def _flips(negative: Shift, positive: Shift, rule: Mapping[str, float]) -> Claim:
    """The smaller of the rise under the bonus and the fall under its negative."""
    rise, fall = positive.at("measured", -1), negative.at("measured", -1)
    fall = fall._replace(value=-fall.value)
    states = [exceeds_by_ses(one.value, one.se, rule["ses"], rule["margin"]) for one in (rise, fall)]
    lower = min(rise, fall, key=lambda one: one.value)
    return Claim(
        claim=f"best of {positive.points[-1]} pleases more under a bonus of {positive.dose:g}, less under "
        f"{negative.dose:g}",
        measured=lower.value,
        interval=normal_interval(lower.value, lower.se),
        threshold=rule["ses"] * lower.se,
        n=positive.questions,
        replicates=lower.replicates,
        met=all_met(states),
        rule=f"met: rise and fall >= {rule['ses']:g} SE; not met: the upper 95 % bound of either below "
        f"{rule['margin']:g}",
        unit=UNIT,
        subject="best-of-n",
        topic="sign flips",
        conditional=lower.is_conditional,
    )


# --- tables -------------------------------------------------------------------------------------------------


def _table(found: Sequence[Shift]) -> pd.DataFrame:
    """One row an arm and n."""
    rows: list[dict[str, Any]] = []
    for one in found:
        for place, n in enumerate(one.points.tolist()):
            of = {"dose": one.dose, "n_or_step": n, "questions": one.questions}
            for name in ("theory", "measured", "off"):
                estimate = one.at(name, place)
                lo, hi = estimate.interval()
                of |= {name: estimate.value, f"{name}_lo": lo, f"{name}_hi": hi, f"{name}_se": estimate.se}
            rows.append(answer_shares.arm_columns(one.arm) | of | {"replicates": len(one.arm.runs)})
    return pd.DataFrame(rows)


def _fits(found: Sequence[Shift]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            answer_shares.fit_row(
                one.arm,
                "shift of pleases",
                f"{name} at n = {one.points[-1]}",
                one.at(name, -1),
                one.questions,
            )
            for one in found
            for name in ("theory", "measured", "off")
        ]
    )


# --- ink ----------------------------------------------------------------------------------------------------


def draw(found: Sequence[Shift], table: pd.DataFrame) -> Figure:
    """Left: theory (lines, 95 % bands) and what is measured (dots). Right: how far apart, in SEs."""
    figure, (panel, off) = theme.panels(2, 3.0, sharey=False, widths=[1.5, 1])
    doses = []
    positive = iter(theme.sizes(sum(one.dose > 0 for one in found)))
    for one in found:
        colour = next(positive) if one.dose > 0 else theme.ORANGE if one.dose < 0 else theme.GREY
        rows = table[table["dose"] == one.dose]
        _draw_shift(panel, rows, colour)
        kept = rows["n_or_step"] > 1
        off.plot(rows["n_or_step"][kept], rows["off"][kept] / rows["off_se"][kept], color=colour, linewidth=1)
        doses.append(theme.key(f"{one.dose:+g}" if one.dose else "0 (gold)", colour, linewidth=2))
    off.axhspan(-2, 2, color="0.92", linewidth=0, zorder=0)
    off.set_ylim(-4, 4)
    off.set_ylabel("measured minus theory (SEs)")
    panel.set_ylabel("change of what pleases the user")
    for one in (panel, off):
        one.axhline(0, color="0.7", linewidth=0.6, zorder=1)
        one.set_xscale("log", base=2)
        one.set_xlabel("n of best-of-n")
        ticks = [2**k for k in range(12) if 2**k <= table["n_or_step"].max()]
        one.set_xticks(ticks, [str(tick) for tick in ticks])
    named = {"title": "labeler's bonus", "loc": "upper center", "fontsize": 6.5, "title_fontsize": 6.5}
    off.legend(handles=doses[::-1], ncols=3, **named)  # no curve is there, whatever the doses do
    handles = [
        theme.key("n Cov(g, U^(n-1)), half of the answers", linewidth=1.5),
        theme.key("best-of-n, the other half", marker="o"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _draw_shift(panel: Axes, rows: pd.DataFrame, colour: Any) -> None:
    panel.fill_between(
        rows["n_or_step"], rows["theory_lo"], rows["theory_hi"], color=colour, alpha=0.14, linewidth=0
    )
    panel.plot(rows["n_or_step"], rows["theory"], color=colour, linewidth=1.5)
    panel.vlines(rows["n_or_step"], rows["measured_lo"], rows["measured_hi"], color=colour, linewidth=0.8)
    panel.plot(
        rows["n_or_step"], rows["measured"], "o", color=colour, markersize=3.2, markeredgecolor="white"
    )
