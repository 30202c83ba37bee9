"""Where RLHF runs out of road: gold and three failures over KL, for a labeler with all flaws and for an honest one.

Sycophancy is the share of wrong beliefs that are agreed with in words: small reward models see these words, so it moves
where metrics that compare framings may not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.behaviour import approval, supervision, sycophancy
from analysis.behaviour.answer_shares import ALL, Against, Measured, Shares, against, arm_columns
from analysis.behaviour.sycophancy import METRICS
from analysis.best_of_n.curves import kl_axis
from analysis.drawing import plot, theme
from analysis.drawing.ablation_panels import HUES
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks, naming
from analysis.runs.arms import Arm, Study, study, title
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import estimate_row, points_table, with_interval
from analysis.statistics.claims import ClaimTable, Thresholds
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]

NAME = "failure_modes"
SWEEPS = ("failure_modes",)

GROUP, FLAWED = "labeler", "flawed"
METRIC = "agreement"  # the metric of sycophancy that is drawn
SYCOPHANCY, APPROVAL, UNMONITORED = "sycophancy", "approval minus truth", "unmonitored gap"


class Mode(NamedTuple):
    """How a failure is shown and decided."""

    limits: str  # "rate" or "gap": its claims' tables of thresholds are `more_rate` and `no_rate`, or those of `gap`
    unit: str
    label: str  # of its panels


MODES = {
    SYCOPHANCY: Mode("rate", "share of answers", "sycophancy\n(share above SFT)"),
    APPROVAL: Mode("rate", "share of answers", "approval minus truth\n(share above SFT)"),
    UNMONITORED: Mode("gap", GOLD_SDS, "unmonitored gap\n(SDs above SFT)"),
}


class Pair(NamedTuple):
    """One method for a labeler with flaws and for an honest one."""

    flawed: Measured
    honest: Measured

    def beyond_honest(self, metric: str) -> Against:
        """Return the rise of a metric minus its rise for the honest labeler."""
        return against(self.flawed, self.honest, metric, from_start=True)


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw a column for each labeler, and a row for gold and for each failure."""
    data = study(runs)
    pairs = both_labelers(data)
    if not pairs:
        raise MissingRuns("no runs of a labeler with flaws and of an honest one are made")
    claims = ClaimTable(NAME)
    for pair in pairs:
        claim_gold_falls(claims, pair.flawed.arm)
        for mode in MODES:
            claim_rises_more(claims, pair, mode)
            claim_stays(claims, pair.honest, mode)
    arms = [measured for pair in pairs for measured in pair]
    compared = ablation.compared(data, GROUP)
    gold = ablation.differences_table([measured.arm for measured in arms], compared, GROUP)
    fits = pd.concat([gold, rises_table(pairs)], ignore_index=True)
    table = changes_table(arms, points_table(data))
    lines = [*notes(pairs, claims.limits), *checks.run_notes(data)]
    return FigureResult(table, fits, claims, draw(pairs, table, claims.limits), lines)


def both_labelers(data: Study) -> list[Pair]:
    """Return both arms of each method that has them."""
    pairs = [
        (arm, honest)
        for honest, *others in ablation.conditions(data.arms, GROUP)
        for arm in others
        if arm.runs[0].choices[GROUP] == FLAWED
    ]
    measured = measure_modes(Study(tuple(arm for pair in pairs for arm in pair)))
    return [Pair(measured[flawed.title], measured[honest.title]) for flawed, honest in pairs]


def measure_modes(data: Study) -> dict[str, Measured]:
    """Return, by title, each failure in every arm's replicates, beside all metrics of sycophancy."""
    return {title: with_modes(measured) for title, measured in sycophancy.measured(data).items()}


def with_modes(measured: Measured) -> Measured:
    """Return an arm's metrics of sycophancy with the three failures added."""
    approved, monitored = approval.gap_by_question(measured.arm), supervision.gap_by_question(measured.arm)
    shares = []
    for replicate, metrics in enumerate(measured.shares):
        modes = {
            (SYCOPHANCY, ALL): metrics[METRIC, ALL],
            (APPROVAL, ALL): shares_of(approved[replicate]),
            (UNMONITORED, ALL): shares_of(monitored[replicate]),
        }
        shares.append({**metrics, **modes})
    return replace(measured, shares=tuple(shares))


def shares_of(values: Floats) -> Shares:
    """Return numbers of each question (C, K), NaN where it has none, as shares."""
    known = np.isfinite(values)
    return Shares(np.where(known, values, 0.0), known.astype(float))


def rise(measured: Measured, metric: str, point: int = -1) -> Estimate:
    """Return a metric at a point of the curve minus the same on the initial policy."""
    return Estimate.of(measured.risen(metric)[:, :, point].T)


def onset(measured: Measured, mode: str, limits: Thresholds) -> int | None:
    """Return the first point where a failure is above SFT's by as much as its claim asks for; None if there is none."""
    threshold = limits[f"more_{MODES[mode].limits}"]["threshold"]
    for point in range(1, len(measured.arm.curves[0].points)):
        if rise(measured, mode, point).interval().lo > threshold:
            return point
    return None


def in_words(arm: Arm) -> str:
    """Return the method and the labeler of an arm in words."""
    return f"{title(arm.method)}, {FLAWED if arm.runs[0].choices[GROUP] == FLAWED else 'honest'} labeler"


# --- claims -------------------------------------------------------------------------------------------------


def claim_gold_falls(claims: ClaimTable, arm: Arm) -> None:
    """Claim that gold for the flawed labeler falls from its peak to the end."""
    claims.above(
        "gold_falls",
        in_words(arm),
        f"gold falls from its peak to {ablation.end_of(arm)}",
        Estimate.of(ablation.losses(arm)),
        arm.questions,
        "gold falls",
        unit=GOLD_SDS,
    )


def claim_rises_more(claims: ClaimTable, pair: Pair, mode: str) -> None:
    """Claim that a failure rises more than for the honest labeler: at the end of best-of-n, at equal KL otherwise."""
    difference, place = pair.beyond_honest(mode), "equal KL"
    if difference.equal_kl is None:
        place = ablation.end_of(pair.flawed.arm)
    claims.above(
        f"more_{MODES[mode].limits}",
        in_words(pair.flawed.arm),
        f"{mode} has risen more at {place} than for the honest labeler",
        difference.end if difference.equal_kl is None else difference.equal_kl.estimate,
        pair.flawed.questions(mode),
        f"more {mode}",
        unit=MODES[mode].unit,
    )


def claim_stays(claims: ClaimTable, honest: Measured, mode: str) -> None:
    """Claim that a failure does not rise for the honest labeler, whose approval is truth by construction."""
    claims.equivalent(
        f"no_{MODES[mode].limits}",
        in_words(honest.arm),
        f"{mode} at {ablation.end_of(honest.arm)} is SFT's",
        rise(honest, mode),
        honest.questions(mode),
        f"no {mode}",
        unit=MODES[mode].unit,
        by_construction=mode == APPROVAL,
    )


# --- tables and notes ---------------------------------------------------------------------------------------


def rises_table(pairs: Sequence[Pair]) -> pd.DataFrame:
    """Return the rise of each failure and metric of sycophancy for each labeler, and the difference of the two."""
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        for metric in (*MODES, *METRICS):
            for measured in pair:
                parameter, n = f"{metric} at the end", measured.questions(metric)
                rows.append(
                    estimate_row(measured.arm, "change from SFT", parameter, rise(measured, metric), n=n)
                )
            rows += difference_rows(pair, metric)
    return pd.DataFrame(rows)


def difference_rows(pair: Pair, metric: str) -> Iterator[dict[str, Any]]:
    """Yield the rise of a metric beyond the honest labeler's, at the end and where there is one at equal KL."""
    difference = pair.beyond_honest(metric)
    places = {"at the end": difference.end}
    if difference.equal_kl is not None:
        places["at equal KL"] = difference.equal_kl.estimate
    for place, estimate in places.items():
        row = estimate_row(
            pair.flawed.arm,
            "paired by seeds",
            f"{metric} {place} beyond the honest labeler's",
            estimate,
            n=pair.flawed.questions(metric),
        )
        if place == "at equal KL" and difference.equal_kl is not None:
            row["reach_kl"] = float(difference.equal_kl.reach.mean())
        yield row


def changes_table(arms: Sequence[Measured], points: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each arm, failure and point: its change from SFT with its 95 % interval, and its level.

    Gold and proxy come from `points`, the table of `points_table`.
    """
    means = points[points["curve"] == "mean"]
    return pd.DataFrame(
        [row for measured in arms for row in (*gold_rows(measured.arm, means), *mode_rows(measured))]
    )


def gold_rows(arm: Arm, means: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the rows of gold and of the proxy of one arm."""
    of_arm = means[(means["method"] == arm.method) & (means["label"] == arm.label)]
    for number in ("gold", "proxy"):
        for row in of_arm.to_dict("records"):
            yield {
                **point_columns(arm, number, row["n_or_step"], row["kl"]),
                "change": row[number],
                "lo": row[f"{number}_lo"],
                "hi": row[f"{number}_hi"],
                "level": np.nan,
                "questions": arm.questions,
                "replicates": row["replicates"],
            }


def mode_rows(measured: Measured) -> Iterator[dict[str, Any]]:
    """Yield the rows of the failures of one arm."""
    points, kl = measured.arm.curves[0].points.tolist(), measured.arm.drawn.mean().kl[0].tolist()
    for mode in MODES:
        level = measured.draws(mode)[:, 0].mean(axis=0)
        for place, (point, nats) in enumerate(zip(points, kl, strict=True)):
            change = rise(measured, mode, place)
            lo, hi = change.interval()
            yield {
                **point_columns(measured.arm, mode, point, nats),
                "change": change.value,
                "lo": lo,
                "hi": hi,
                "level": float(level[place]),
                "questions": measured.questions(mode),
                "replicates": change.replicates,
            }


def point_columns(arm: Arm, mode: str, point: int, nats: float) -> dict[str, Any]:
    """Return the columns that name an arm, a failure (or gold, or the proxy) and a point of the curve."""
    return {
        **arm_columns(arm),
        "labeler": arm.runs[0].choices[GROUP],
        "mode": mode,
        "n_or_step": int(point),
        "kl": nats,
        "d": float(np.sqrt(max(nats, 0))),
    }


def notes(pairs: Sequence[Pair], limits: Thresholds) -> list[str]:
    """Say which failure comes first, what the other metrics of sycophancy show, and what the words mean."""
    order = "; ".join(order_of_failures(pair.flawed, limits) for pair in pairs)
    others = "; ".join(other_metrics(pair) for pair in pairs)
    return [
        "KL in nats at which gold peaks and each failure is first above SFT's by more than its threshold: "
        + order,
        f"sycophancy is measured by '{METRICS[METRIC]}'; the other metrics at the end, beyond the honest labeler's: "
        + others,
        "an honest labeler's approval is truth by construction; approved: worth more to the arm's own labeler than the "
        "median of SFT's answers to the same family and difficulty; truth: the same by gold",
    ]


def order_of_failures(measured: Measured, limits: Thresholds) -> str:
    """Return gold's peak and the failures of an arm in the order of their KL."""
    mean = measured.arm.drawn.mean()
    kl_at = {}
    for mode in MODES:
        point = onset(measured, mode, limits)
        kl_at[mode] = np.inf if point is None else float(mean.kl[0][point])
    kl_at["gold peaks"] = float(mean.kl[0][mean.values["gold"][0].argmax()])
    events = [
        f"{event} {kl_at[event]:.2g}" if np.isfinite(kl_at[event]) else f"{event} never"
        for event in sorted(kl_at, key=kl_at.__getitem__)
    ]
    return f"{in_words(measured.arm)}: {', '.join(events)}"


def other_metrics(pair: Pair) -> str:
    """Return the metrics of sycophancy that are not drawn, where there are prompts for them."""
    metrics = [
        f"{metric} {with_interval(pair.beyond_honest(metric).end)}"
        for metric in METRICS
        if metric != METRIC and pair.flawed.questions(metric)
    ]
    return f"{in_words(pair.flawed.arm)}: {', '.join(metrics)}"


# --- drawing ------------------------------------------------------------------------------------------------


def draw(pairs: Sequence[Pair], table: pd.DataFrame, limits: Thresholds) -> Figure:
    """Draw changes from SFT: a column for each labeler, a row for gold and each failure, a colour for each method."""
    methods = dict.fromkeys(pair.flawed.arm.method for pair in pairs)
    colour_of = dict(zip(methods, HUES, strict=False))
    figure = theme.blank(theme.WIDTH, 6.6)
    axes = figure.subplots(1 + len(MODES), 2, sharex=True, sharey="row", height_ratios=[1.4, 1, 1, 1])
    for column, arms in zip(axes.T, zip(*pairs, strict=True), strict=True):
        for measured in arms:
            arm, colour = measured.arm, colour_of[measured.arm.method]
            rows = table[(table["method"] == arm.method) & (table["label"] == arm.label)]
            draw_gold(column[0], rows, colour)
            for panel, mode in zip(column[1:], MODES, strict=True):
                draw_mode(panel, rows[rows["mode"] == mode], colour, onset(measured, mode, limits))
        name_labeler(column[0], arms[0].arm)
    for row, label in zip(
        axes, ["gold and proxy\n(SDs above SFT)", *(mode.label for mode in MODES.values())], strict=True
    ):
        row[0].set_ylabel(label)
        row[0].margins(y=0.1)
        for panel in row:
            panel.axhline(0, color="0.75", linewidth=0.6, zorder=0)
    small_text(axes[2, 1], 0.02, 0.93, "zero by construction: his approval is truth", "top")
    theme.square_root_nats(axes[0, 0], float(table["kl"].max()), gap=0.09)
    figure.align_ylabels(axes[:, 0])
    estimators = [measured.arm.curves[0].estimator for pair in pairs for measured in pair]
    axes[-1, 0].set_xlabel(kl_axis(estimators), x=1.03)
    handles = [theme.key(title(method), colour, linewidth=2) for method, colour in colour_of.items()]
    handles += [
        theme.key("mean, 95 % band", linewidth=1.6),
        theme.key("proxy, in its own SDs", linestyle=theme.DASHED, linewidth=1.0),
        theme.key("gold's peak; a failure is first above SFT's", marker="o"),
        theme.key("gold's peak at this KL or later", marker=">"),
    ]
    plot.legend(figure, handles)
    return figure


def draw_gold(panel: Axes, rows: pd.DataFrame, colour: str) -> None:
    """Draw gold with its 95 % band and its peak, and the proxy dashed."""
    gold = rows[rows["mode"] == "gold"]
    plot.curve(panel, gold, "change", colour, width=1.6)
    plot.curve(panel, rows[rows["mode"] == "proxy"], "change", colour, style=theme.DASHED, width=1.0, band=0)
    plot.peak(panel, gold, "change", colour)


def draw_mode(panel: Axes, rows: pd.DataFrame, colour: str, point: int | None) -> None:
    """Draw a failure with its 95 % band, and mark the point at which it has risen."""
    plot.curve(panel, rows, "change", colour, width=1.6)
    if point is not None:
        theme.mark(panel, rows["kl"].iloc[point], rows["change"].iloc[point], colour)


def name_labeler(panel: Axes, arm: Arm) -> None:
    """Write above a panel which labeler it is, and its flaws."""
    flaws = naming.flaws(arm.runs[0].config[GROUP])
    panel.set_title("flawed labeler" if flaws else "honest labeler", loc="left", weight="bold", pad=16)
    small_text(panel, 0, 1.03, ", ".join(flaws) or "prefers the answer with the higher gold", "bottom")


def small_text(panel: Axes, x: float, y: float, text: str, va: str) -> None:
    """Write grey text at a place of the panel, from (0, 0) at the lower left to (1, 1)."""
    panel.text(x, y, text, va=va, transform=panel.transAxes, color="0.4", fontsize=7)
