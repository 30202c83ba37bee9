"""How best-of-n changes what pleases the user, predicted by a covariance and measured (2602.01002, theorem 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType
from numpy.typing import NDArray

from analysis.behaviour import answer_shares
from analysis.behaviour.answer_shares import PromptShares, Shares
from analysis.behaviour.doses import dose
from analysis.best_of_n.answer_table import in_order, same_count, starts
from analysis.best_of_n.estimator import grid, question_curves, rank, ranked_curves, tie_averaged
from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import Arm, Study, Unsuited, study
from analysis.statistics.claims import ClaimTable
from analysis.statistics.resampling import weights_of
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "shapira2026_theory"
SWEEPS = ("sycophancy",)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The beginnings of the names of the families whose answers can please or displease a user.
PLEASED = ("belief", "feedback_liked", "feedback_disliked", "challenge", "attribution")
UNIT = "mean of `behaviour.pleases`, -1 to 1"


@dataclass(frozen=True)
class Shift:
    """How an arm's best-of-n changes what pleases the user.

    The theory is the covariance among one half of the answers to each prompt; the other half gives the measured shift.
    """

    arm: Arm
    dose: float  # bonus of the labeler, gold units
    points: Ints  # (K,) n
    theory: Floats  # (B, R, K)
    measured: Floats  # (B, R, K)
    questions: int

    def at(self, name: str, point: int) -> Estimate:
        """Return `theory`, `measured` or `off` (measured minus theory) at one point."""
        values = {"theory": self.theory, "measured": self.measured, "off": self.measured - self.theory}
        return Estimate.of(values[name][:, :, point])


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw theorem 3 over n, a line for each labeler, and how far the measured shift is from it."""
    chosen = [run for run in runs if run.method == "BestOfN" and dose(run) is not None]
    if not chosen:
        raise MissingRuns("no best-of-n run against a sycophantic labeler's reward model is made")
    data = study(chosen)
    found = shifts(data)
    claims = ClaimTable(NAME, UNIT)
    for shift in found:
        claim_told(claims, shift)
    by_dose = {shift.dose: shift for shift in found}
    for dosage in sorted(by_dose):
        if dosage > 0 and -dosage in by_dose:
            claim_flips(claims, by_dose[-dosage], by_dose[dosage])
    table = shifts_table(found)
    return FigureResult(table, fits_table(found), claims, draw(found, table), checks.run_notes(data))


def covariance_shift(select: Floats, value: Floats, n: Ints) -> Floats:
    """Return (Q, K), n Cov(value, U^(n-1)) over the answers (Q, N) to each prompt (2602.01002, theorem 3).

    U is the quantile of `select` among the answers. U^(n-1) of an answer is the chance that n - 1 others rank below
    it, from all sets of others, so it is unbiased. On one table this equals the estimator of best-of-n, which is why
    theory and measurement use different answers.
    """
    answers = select.shape[1]
    power = ranked_curves(np.eye(answers), n) * answers / n  # (N, K) of each rank
    ranked = tie_averaged(rank(select), value)
    return n * (ranked @ power / answers - ranked.mean(axis=1)[:, None] * power.mean(axis=0))


def shifts(data: Study) -> list[Shift]:
    """Return the shift of every arm, the lowest dose first."""
    doses = ((arm, dose(arm.runs[0])) for arm in data.arms)
    return sorted(
        (shift_of(arm, each) for arm, each in doses if each is not None), key=lambda shift: shift.dose
    )


def shift_of(arm: Arm, dosage: float) -> Shift:
    """Return the shift of one arm, by theory and as measured."""
    weights = weights_of(arm.drawn.resamples, arm.questions)
    halves = [split_halves(run, curves.questions) for run, curves in zip(arm.runs, arm.curves, strict=True)]
    return Shift(
        arm=arm,
        dose=dosage,
        points=halves[0][0],
        theory=np.stack([theory.mean(weights) for _, theory, _ in halves], axis=1),
        measured=np.stack([measured.mean(weights) for _, _, measured in halves], axis=1),
        questions=min(measured.questions for _, _, measured in halves),
    )


def split_halves(run: Run, questions: Ints) -> tuple[Ints, Shares, Shares]:
    """Return n (K,), the shift by theory from one half of the answers, and the measured shift of the other half.

    Raises Unsuited where answers were not scored, or where no prompt has a user whom an answer can please.
    """
    try:
        rows = in_order(run.rows(["prompt_id", "question_id", "family", "proxy", "behaviour.pleases"]))
    except KeyError as missing:
        raise Unsuited(f"{missing.args[0]}; make it with task=every_family score.behaviour=true") from None
    first = starts(rows)
    count = same_count(first, rows.num_rows, "the table of SFT answers")
    family = rows["family"].to_numpy(zero_copy_only=False)[first]
    prompts = np.flatnonzero([str(name).startswith(PLEASED) for name in family])
    if not len(prompts):
        raise Unsuited(
            f"run {run.key} has no prompts of a user whom an answer can please: run it with task=every_family"
        )
    proxy, pleases = (
        rows[name].to_numpy().reshape(-1, count)[prompts].astype(float)
        for name in ("proxy", "behaviour.pleases")
    )
    question = rows["question_id"].to_numpy()[first][prompts].astype(np.int64)
    half = count // 2
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


def claim_told(claims: ClaimTable, shift: Shift) -> None:
    """Claim `told`: the covariance predicts the shift; true by construction, since it is a theorem for any reward."""
    claims.equivalent(
        "told",
        shift.arm.title,
        f"n Cov(g, U^(n-1)) of half of the answers predicts the other half's shift at n = {shift.points[-1]}",
        shift.at("off", -1),
        shift.questions,
        "theory minus shift",
        by_construction=True,
    )


def claim_flips(claims: ClaimTable, negative: Shift, positive: Shift) -> None:
    """Claim `flips`: best-of-n pleases more under a bonus and less under its negative; the smaller change is shown."""
    rise, fall = positive.at("measured", -1), negative.at("measured", -1)
    claims.all_above(
        "flips",
        "best-of-n",
        f"best of {positive.points[-1]} pleases more under a bonus of {positive.dose:g}, and less under "
        f"{negative.dose:g}",
        [rise, fall._replace(value=-fall.value)],
        positive.questions,
        "sign flips",
    )


# --- tables -------------------------------------------------------------------------------------------------


def shifts_table(found: Sequence[Shift]) -> pd.DataFrame:
    """Return one row for each arm and n."""
    rows: list[dict[str, Any]] = []
    for shift in found:
        for point, n in enumerate(shift.points.tolist()):
            row = answer_shares.arm_columns(shift.arm)
            row |= {"dose": shift.dose, "n_or_step": n, "questions": shift.questions}
            for name in ("theory", "measured", "off"):
                estimate = shift.at(name, point)
                lo, hi = estimate.interval()
                row |= {name: estimate.value, f"{name}_lo": lo, f"{name}_hi": hi, f"{name}_se": estimate.se}
            rows.append(row | {"replicates": len(shift.arm.runs)})
    return pd.DataFrame(rows)


def fits_table(found: Sequence[Shift]) -> pd.DataFrame:
    """Return the shift by theory, as measured, and their difference at the largest n."""
    rows = []
    for shift in found:
        for name in ("theory", "measured", "off"):
            parameter = f"{name} at n = {shift.points[-1]}"
            estimate = shift.at(name, -1)
            rows.append(
                answer_shares.fit_row(shift.arm, "shift of pleases", parameter, estimate, shift.questions)
            )
    return pd.DataFrame(rows)


# --- drawing ------------------------------------------------------------------------------------------------


def draw(found: Sequence[Shift], table: pd.DataFrame) -> Figure:
    """Draw theory as lines with 95 % bands and the measured shift as dots; on the right, their distance in SEs."""
    figure, (panel, off) = theme.panels(2, 3.0, sharey=False, widths=[1.5, 1])
    doses = []
    positive = iter(theme.sizes(sum(shift.dose > 0 for shift in found)))
    for shift in found:
        colour = next(positive) if shift.dose > 0 else theme.ORANGE if shift.dose < 0 else theme.GREY
        rows = table[table["dose"] == shift.dose]
        draw_shift(panel, rows, colour)
        later = rows[rows["n_or_step"] > 1]
        off.plot(later["n_or_step"], later["off"] / later["off_se"], color=colour, linewidth=1)
        doses.append(theme.key(f"{shift.dose:+g}" if shift.dose else "0 (gold)", colour, linewidth=2))
    off.axhspan(-2, 2, color="0.92", linewidth=0, zorder=0)
    off.set_ylim(-4, 4)
    off.set_ylabel("measured minus theory (SEs)")
    panel.set_ylabel("change of what pleases the user")
    ticks = [2**k for k in range(12) if 2**k <= table["n_or_step"].max()]
    for axes in (panel, off):
        axes.axhline(0, color="0.7", linewidth=0.6, zorder=1)
        axes.set_xscale("log", base=2)
        axes.set_xlabel("n of best-of-n")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
    off.legend(
        handles=doses[::-1],
        ncols=3,
        title="labeler's bonus",
        loc="upper center",  # no curve reaches there
        fontsize=6.5,
        title_fontsize=6.5,
    )
    handles = [
        theme.key("n Cov(g, U^(n-1)), half of the answers", linewidth=1.5),
        theme.key("best-of-n, the other half", marker="o"),
    ]
    plot.legend(figure, handles)
    return figure


def draw_shift(panel: Axes, rows: pd.DataFrame, colour: ColorType) -> None:
    """Draw the theory with its band, and the measured shift with its intervals."""
    n = rows["n_or_step"]
    plot.curve(panel, rows, "theory", colour, x="n_or_step")
    plot.intervals(panel, n, rows["measured"], rows["measured_lo"], rows["measured_hi"], colour, size=3.2)
