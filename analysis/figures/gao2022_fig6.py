"""Held-out loss, gold and coefficients of best-of-n over comparisons (2210.10760, Figures 5, 6, 10, 17, 18)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from matplotlib.typing import ColorType

from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.reward_models.data_sizes import (
    Floats,
    by_comparisons,
    by_size,
    coefficients,
    comparisons,
    gold_at_end,
    judged,
    number_rows,
    variance,
)
from analysis.runs import checks
from analysis.runs.ablation import Rule, end_of
from analysis.runs.arms import Arm, Study
from analysis.runs.naming import GOLD_SDS
from analysis.runs.rank_order import Order, claim_order, order, order_row, peak_gold
from analysis.runs.tables import with_interval
from analysis.statistics.claims import ClaimTable, exceeds
from rlhf_lab.functional.intervals import LEVEL, Estimate, Interval
from rlhf_lab.store.records import Run

NAME = "gao2022_fig6"
SWEEPS = ("gao2022_data",)

Numbers = Mapping[str, Mapping[str, Floats]]  # title of an arm -> name -> (B, R)

WITH_GOLD = {  # number ranked against gold at the largest n (Figure 5) -> its name
    "log_loss": "held-out log-loss",
    "accuracy": "held-out accuracy",
    "log_variance": "the proxy's variance within prompts",
}
OF_COMPARISONS = {  # number ranked against the number of comparisons -> its name
    "log_loss": "held-out log-loss",
    "gold": "gold at the largest n",
    "peak_gold": "peak gold",
    "alpha": "alpha",
    "beta": "beta",
}


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw what reward models of each size make of ever more comparisons."""
    data = by_comparisons(runs)
    numbers = {arm.title: numbers_of(arm) for arm in data.arms}
    gold = [numbers[arm.title]["gold"] for arm in data.arms]
    with_gold = {
        name: order(data.arms, [numbers[arm.title][name] for arm in data.arms], gold) for name in WITH_GOLD
    }
    claims = ClaimTable(NAME, GOLD_SDS)
    claim_fewest_and_knees(claims, by_size(data), numbers)
    sentence = "a lower held-out log-loss goes with more gold at the largest n"
    topic = "lower loss, more gold"
    claim_order(claims, "loss_and_gold", "best-of-n", sentence, with_gold["log_loss"], topic, sign=-1)
    table = pd.DataFrame([row for arm in data.arms for row in number_rows(arm, numbers[arm.title])])
    fits = orders_table(data, numbers, with_gold)
    notes = [contested(with_gold), *checks.run_notes(data)]
    return FigureResult(table, fits, claims, draw(table), notes)


def numbers_of(arm: Arm) -> dict[str, Floats]:
    """Return every number of an arm that is drawn over comparisons, by its name."""
    alpha, beta = coefficients(arm)
    of_gold = {"gold": gold_at_end(arm), "peak_gold": peak_gold(arm), "alpha": alpha, "beta": beta}
    return judged(arm)._asdict() | of_gold | {"log_variance": variance(arm)}


# --- the knee -----------------------------------------------------------------------------------------------


class Knee(NamedTuple):
    """The fewest comparisons with which gold is gained, as far as it is known."""

    least: float  # the fewest with which gold may be gained; inf where none of those tried may
    most: float  # the fewest with which it surely is; inf where none of those tried is


def knee(arms: Sequence[Arm], numbers: Numbers, rule: Rule) -> Knee:
    """Return the knee of one size; gold is gained by more than `rule["threshold"]`, by its interval."""
    least = most = np.inf
    for arm in reversed(arms):
        gain = Estimate.of(numbers[arm.title]["gold"])
        gained = exceeds(gain.interval(), rule["threshold"])
        least = least if gained is False else float(comparisons(arm))
        most = float(comparisons(arm)) if gained else most
    return Knee(least, most)


class KneeDifference(NamedTuple):
    """Doublings of comparisons from one knee to another; its bounds are at the level of the gains."""

    value: float
    bounds: Interval
    replicates: int
    is_conditional: bool = False

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the bounds, which are at the level of the gains that place the knees."""
        return self.bounds


def not_earlier(knee: Knee, other: Knee) -> bool | None:
    """Return whether a knee lies at as many comparisons as another or more; None where it is not known."""
    if knee.most < other.least:
        return False
    return True if np.isfinite(other.most) and knee.least >= other.most else None


# --- claims -------------------------------------------------------------------------------------------------


def claim_fewest_and_knees(claims: ClaimTable, arms_of: Mapping[str, list[Arm]], numbers: Numbers) -> None:
    """Claim that the fewest comparisons gain nothing, and that the knee is not earlier for larger sizes."""
    for rm, (fewest, *_) in arms_of.items():
        claims.equivalent(
            "fewest_gain_nothing",
            f"best-of-n, {rm}",
            f"with {comparisons(fewest):,} comparisons gold at {end_of(fewest)} is that of the initial policy",
            Estimate.of(numbers[fewest.title]["gold"]),
            fewest.questions,
            "fewest comparisons gain nothing",
        )
    rule = claims.limits["knee"]
    knees = {rm: knee(arms, numbers, rule) for rm, arms in arms_of.items()}
    smallest, *larger = arms_of
    for rm in larger:
        replicates = min(len(arm.curves) for arm in (*arms_of[smallest], *arms_of[rm]))
        claim_not_earlier(claims, rm, smallest, knees, len(arms_of[rm]), replicates)


def claim_not_earlier(
    claims: ClaimTable, larger: str, smaller: str, knees: Mapping[str, Knee], arms: int, replicates: int
) -> None:
    """Claim `knee`; what is measured is the knee of the larger minus that of the smaller size, in doublings."""
    knee, other = knees[larger], knees[smaller]
    with np.errstate(invalid="ignore"):
        bounds = np.log2([knee.least, knee.most]) - np.log2([other.most, other.least])
        middle = float(np.log2(knee.most) - np.log2(other.most))
    claims.add(
        "knee",
        f"best-of-n, {larger}",
        f"gold is not gained from fewer comparisons than {smaller} needs (doublings, larger minus smaller)",
        KneeDifference(middle, Interval(*bounds.tolist()), replicates),
        arms,
        f"knee not earlier than {smaller}'s",
        threshold=0.0,
        met=not_earlier(knee, other),
        rule=f"met: the fewest comparisons that may gain are no fewer than those that surely do with {smaller}; not "
        "met: those that surely do are fewer than may with it",
        unit="doublings of comparisons",
    )


# --- tables -------------------------------------------------------------------------------------------------


def orders_table(data: Study, numbers: Numbers, with_gold: Mapping[str, Order]) -> pd.DataFrame:
    """Return rank correlations of comparisons with every number, of each size and of all; then those of Figure 5."""
    rows = []
    for rm, arms in {**by_size(data), "all": list(data.arms)}.items():
        counts = [comparisons(arm) for arm in arms]
        for name, words in OF_COMPARISONS.items():
            correlation = order(arms, counts, [numbers[arm.title][name] for arm in arms])
            rows.append(order_row(rm, f"comparisons and {words}", correlation))
    for name, words in WITH_GOLD.items():
        rows.append(order_row("all", f"{words} and gold at the largest n", with_gold[name]))
    return pd.DataFrame(rows)


def contested(with_gold: Mapping[str, Order]) -> str:
    """Return a note of what was measured of accuracy and gold, beside what papers say."""
    measured = ", ".join(
        f"{words} {with_interval(with_gold[name].signed())}" for name, words in WITH_GOLD.items()
    )
    return (
        "does a more accurate reward model give a better policy? Weakly yes (Gao et al. 2022, Figure 5); no, a less "
        "accurate one may teach better, as its rewards vary more (Razin et al. 2025), and accuracy alone says little "
        f"(the accuracy paradox). Rank correlations over runs with gold at the largest n: {measured}"
    )


# --- drawing ------------------------------------------------------------------------------------------------

PANELS = {  # number over comparisons -> label of its axis
    "log_loss": "held-out log-loss\n(nats a pair)",
    "gold": "gold at the largest n\n(SDs)",
    "peak_gold": "peak gold (SDs)",
    "alpha": "alpha (SDs a nat$^{1/2}$)",
    "beta": "beta (SDs a nat)",
}


def draw(table: pd.DataFrame) -> Figure:
    """Draw a line for each reward-model size with its 95 % band, the mean over sizes of coefficients, and Figure 5."""
    sizes = list(dict.fromkeys(table["rm"]))
    colours = dict(zip(sizes, theme.sizes(len(sizes)), strict=True))
    figure = theme.blank(theme.WIDTH, 4.4)
    axes = figure.subplots(2, 3).flat
    for panel, (name, words), letter in zip(axes, PANELS.items(), "abcde", strict=False):
        for rm in sizes:
            plot.curve(panel, table[table["rm"] == rm], name, colours[rm], x="comparisons", marker="o")
        if name in ("alpha", "beta"):
            draw_mean(panel, table, name)
        draw_axes(panel, table, name)
        panel.set_ylabel(words)
        theme.letter(panel, letter)
    draw_pairs(axes[5], table, colours)
    theme.letter(axes[5], "f")
    entries = [theme.key(f"{rm} reward model", colour, linewidth=2) for rm, colour in colours.items()]
    entries.append(theme.key("mean over sizes", linestyle=theme.DASHED, linewidth=1))
    entries.append(theme.key("f: larger, more comparisons", "0.5", marker="o"))
    plot.legend(figure, entries)
    return figure


def draw_mean(panel: Axes, table: pd.DataFrame, name: str) -> None:
    """Draw the mean over sizes, where all of them have the number of comparisons (Figures 17, 18)."""
    groups = table[table["curve"] == "mean"].groupby("comparisons")[name]
    shared = groups.mean()[groups.size() == table["rm"].nunique()]
    panel.plot(shared.index, shared, color="0.2", linewidth=1, linestyle=theme.DASHED)


def draw_axes(panel: Axes, table: pd.DataFrame, name: str) -> None:
    """Give a panel its axis of comparisons, and a line at chance or at 0."""
    ticks = sorted(set(table["comparisons"]))
    panel.set_xscale("log")
    panel.set_xticks(ticks, [f"{count:,}" for count in ticks])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("comparisons")
    panel.margins(y=0.14)
    level = np.log(2) if name == "log_loss" else 0.0
    panel.axhline(level, color="0.7", linewidth=0.6, zorder=0)
    if name == "log_loss":
        look = {"fontsize": 6.5, "color": "0.4", "ha": "right", "va": "bottom"}
        panel.text(0.99, level, "chance ", transform=panel.get_yaxis_transform(), **look)


def draw_pairs(panel: Axes, table: pd.DataFrame, colours: Mapping[str, ColorType]) -> None:
    """Draw every run, its held-out log-loss and gold at the largest n; large dots learned from more comparisons."""
    runs = table[table["curve"] == "replicate"]
    places = {count: place for place, count in enumerate(sorted(set(table["comparisons"])))}
    for rm, colour in colours.items():
        rows = runs[runs["rm"] == rm]
        area = [5.0 + 7.0 * places[count] for count in rows["comparisons"]]
        panel.scatter(rows["log_loss"], rows["gold"], s=area, color=colour, alpha=0.7, linewidths=0)
    panel.axhline(0, color="0.7", linewidth=0.6, zorder=0)
    panel.axvline(np.log(2), color="0.7", linewidth=0.6, zorder=0)
    panel.set_xlabel("held-out log-loss (nats a pair)")
    panel.set_ylabel(PANELS["gold"])
    panel.margins(0.1)
