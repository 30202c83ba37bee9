"""Held-out loss, gold and coefficients of best-of-n over comparisons (2210.10760, Figures 5, 6, 10, 17, 18)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis.drawing import theme
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
from analysis.runs.rank_order import Order, grows, order, order_row, peak_gold
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, exceeds_by_ses, thresholds
from rlhf_lab.functional.intervals import Estimate, Interval, conditional
from rlhf_lab.store.records import Run

NAME = "gao2022_fig6"
SWEEPS = ("gao2022_data",)

Numbers = Mapping[str, Mapping[str, Floats]]  # title of an arm -> name -> (B, R)

WITH_GOLD = {  # what is ranked against gold at the largest n (Figure 5), and its words
    "log_loss": "held-out log-loss",
    "accuracy": "held-out accuracy",
    "log_variance": "the proxy's variance within prompts",
}
OF_COMPARISONS = {  # what is ranked against the number of comparisons, and its words
    "log_loss": "held-out log-loss",
    "gold": "gold at the largest n",
    "peak_gold": "peak gold",
    "alpha": "alpha",
    "beta": "beta",
}


def make(runs: Sequence[Run]) -> FigureResult:
    """What reward models of each size make of ever more comparisons."""
    read = by_comparisons(runs)
    found = {arm.title: numbers(arm) for arm in read.arms}
    table = pd.DataFrame([row for arm in read.arms for row in number_rows(arm, found[arm.title])])
    limits, together = thresholds(NAME), with_gold(read.arms, found)
    return FigureResult(
        table,
        orders_table(read, found, together),
        claims(read, found, together, limits),
        draw(table),
        [contested(together), *checks.kl_bound_notes(read)],
    )


def numbers(arm: Arm) -> dict[str, Floats]:
    """Every number of an arm that is drawn over comparisons."""
    alpha, beta = coefficients(arm)
    of_gold = {"gold": gold_at_end(arm), "peak_gold": peak_gold(arm), "alpha": alpha, "beta": beta}
    return {**judged(arm)._asdict(), **of_gold, "log_variance": variance(arm)}


def with_gold(arms: Sequence[Arm], found: Numbers) -> dict[str, Order]:
    """Figure 5, over all runs: the rank correlations of gold at the largest n with what is known without it."""
    gold = [found[arm.title]["gold"] for arm in arms]
    return {name: order(arms, [found[arm.title][name] for arm in arms], gold) for name in WITH_GOLD}


# --- the knee -----------------------------------------------------------------------------------------------


class Knee(NamedTuple):
    """The fewest comparisons with which gold is gained, as far as it is known."""

    least: float  # the fewest with which gold may be gained; inf where none of those tried may
    most: float  # the fewest with which it is; inf where none of those tried is


def knee(arms: Sequence[Arm], found: Numbers, rule: Rule) -> Knee:
    """Of one size: gold at the largest n is `rule["ses"]` SEs above that of the initial policy, or surely is not."""
    gains = [Estimate.of(found[arm.title]["gold"]) for arm in arms]
    states = [exceeds_by_ses(one.value, one.se, rule["ses"], rule["margin"]) for one in gains]
    tried = [float(comparisons(arm)) for arm in arms]

    def first(states_that_count: tuple[bool | None, ...]) -> float:
        return next(
            (count for count, state in zip(tried, states, strict=True) if state in states_that_count), np.inf
        )

    return Knee(first((True, None)), first((True,)))


def not_earlier(one: Knee, other: Knee) -> bool | None:
    """Whether one knee lies at as many comparisons as another or more; None where either is not known well enough."""
    if one.most < other.least:
        return False
    return True if np.isfinite(other.most) and one.least >= other.most else None


# --- claims -------------------------------------------------------------------------------------------------


def claims(read: Study, found: Numbers, together: Mapping[str, Order], limits: Thresholds) -> list[Claim]:
    """The fewest comparisons gain nothing; the knee is not earlier for larger sizes; a lower loss, more gold."""
    of = by_size(read)
    made = [_gain_nothing(arms[0], found, limits["fewest_gain_nothing"]) for arms in of.values()]
    knees = {rm: knee(arms, found, limits["knee"]) for rm, arms in of.items()}
    smallest, *larger = of
    made += [_not_earlier(of, knees, smallest, rm, limits["knee"]) for rm in larger]
    made.append(
        grows(
            "best-of-n: a lower held-out log-loss goes with more gold at the largest n",
            *(together["log_loss"], limits["loss_and_gold"], -1),
            subject="best-of-n",
            topic="lower loss, more gold",
        )
    )
    return made


def _gain_nothing(arm: Arm, found: Numbers, rule: Rule) -> Claim:
    gain = Estimate.of(found[arm.title]["gold"])
    return by_equivalence(
        f"{arm.title}: as much gold at {end_of(arm)} as on the initial policy",
        *(gain, -rule["margin"], rule["margin"], arm.questions),
        enough=gain.replicates >= rule["replicates"],
        unit=GOLD_SDS,
        subject=f"best-of-n, {arm.rm}",
        topic="fewest comparisons gain nothing",
    )


def _not_earlier(
    of: Mapping[str, list[Arm]], knees: Mapping[str, Knee], smaller: str, larger: str, rule: Rule
) -> Claim:
    """In steps of the numbers of comparisons that were tried: the knee of the larger less that of the smaller size."""
    one, other = knees[larger], knees[smaller]
    replicates = min(len(arm.curves) for rm in (smaller, larger) for arm in of[rm])
    with np.errstate(invalid="ignore"):
        bounds = np.log2([one.least, one.most]) - np.log2([other.most, other.least])
        middle = float(np.log2(one.most) - np.log2(other.most))
    return Claim(
        claim=f"best-of-n, {larger}: gold is not gained from fewer comparisons than {smaller} needs "
        "(doublings, larger minus smaller)",
        measured=middle,
        interval=Interval(*bounds.tolist()),
        threshold=0.0,
        n=len(of[larger]),
        replicates=replicates,
        met=not_earlier(one, other) if replicates >= rule["replicates"] else None,
        rule=f"met: the fewest that may gain ({rule['ses']:g} SE) are no fewer than those that do with {smaller}; not "
        "met: the fewest that do are fewer than those that may with it; else undecided",
        unit="doublings of comparisons",
        subject=f"best-of-n, {larger}",
        topic=f"knee not earlier than {smaller}'s",
        conditional=conditional(replicates),
    )


# --- tables -------------------------------------------------------------------------------------------------


def orders_table(read: Study, found: Numbers, together: Mapping[str, Order]) -> pd.DataFrame:
    """Rank correlations of comparisons with every number, of each size and of all; then those of Figure 5."""
    rows = []
    for rm, arms in {**by_size(read), "all": list(read.arms)}.items():
        counts = [comparisons(arm) for arm in arms]
        rows += [
            order_row(
                f"comparisons and {words}",
                rm,
                order(arms, counts, [found[arm.title][name] for arm in arms]),
            )
            for name, words in OF_COMPARISONS.items()
        ]
    rows += [
        order_row(f"{words} and gold at the largest n", "all", together[name])
        for name, words in WITH_GOLD.items()
    ]
    return pd.DataFrame(rows)


def contested(together: Mapping[str, Order]) -> str:
    """What was measured of accuracy and gold, beside what papers say."""
    measured = ", ".join(f"{words} {_interval(together[name])}" for name, words in WITH_GOLD.items())
    return (
        "does a more accurate reward model give a better policy? Weakly yes (Gao et al. 2022, Figure 5); no, a less "
        "accurate one may teach better, as its rewards vary more (Razin et al. 2025), and accuracy alone says little "
        f"(the accuracy paradox). Rank correlations over runs with gold at the largest n: {measured}"
    )


def _interval(found: Order) -> str:
    lo, hi = found.interval()
    return f"{found.rho:+.2f} [{lo:+.2f}, {hi:+.2f}]"


# --- ink ----------------------------------------------------------------------------------------------------

PANELS = {  # number -> how its axis is called, of those over comparisons
    "log_loss": "held-out log-loss\n(nats a pair)",
    "gold": "gold at the largest n\n(SDs)",
    "peak_gold": "peak gold (SDs)",
    "alpha": "alpha (SDs a nat$^{1/2}$)",
    "beta": "beta (SDs a nat)",
}


def draw(table: pd.DataFrame) -> Figure:
    """A line a reward-model size with 95 % intervals; of coefficients their mean over sizes, too; then Figure 5."""
    sizes = list(dict.fromkeys(table["rm"]))
    colour = dict(zip(sizes, theme.sizes(len(sizes)), strict=True))
    figure = theme.blank(theme.WIDTH, 4.4)
    axes = figure.subplots(2, 3).flat
    for panel, (name, words), letter in zip(axes, PANELS.items(), "abcde", strict=False):
        for rm in sizes:
            _draw_size(panel, table[table["rm"] == rm], name, colour[rm])
        if name in ("alpha", "beta"):
            _draw_mean(panel, table, name)
        _decorate(panel, table, name)
        panel.set_ylabel(words)
        theme.letter(panel, letter)
    _draw_pairs(axes[5], table, colour)
    theme.letter(axes[5], "f")
    handles = [theme.key(f"{rm} reward model", hue, linewidth=2) for rm, hue in colour.items()]
    handles.append(theme.key("mean over sizes", "0.2", linestyle=theme.DASHED, linewidth=1))
    handles.append(theme.key("f: larger, more comparisons", "0.5", marker="o"))
    figure.legend(handles=handles, loc="outside lower center", ncols=5)
    return figure


def _draw_size(panel: Axes, rows: pd.DataFrame, name: str, colour: Any) -> None:
    mean, single = rows[rows["curve"] == "mean"], rows[rows["curve"] == "replicate"]
    panel.fill_between(
        *(mean["comparisons"], mean[f"{name}_lo"], mean[f"{name}_hi"]), color=colour, alpha=0.14, linewidth=0
    )
    panel.plot(mean["comparisons"], mean[name], "o-", color=colour, linewidth=1.5, markersize=3)
    panel.plot(single["comparisons"], single[name], ".", color=colour, markersize=2, alpha=0.5)


def _draw_mean(panel: Axes, table: pd.DataFrame, name: str) -> None:
    """The mean over sizes, where all have the number of comparisons (Figures 17, 18)."""
    of = table[table["curve"] == "mean"].groupby("comparisons")[name]
    shared = of.mean()[of.size() == table["rm"].nunique()]
    panel.plot(shared.index, shared, color="0.2", linewidth=1, linestyle=theme.DASHED)


def _decorate(panel: Axes, table: pd.DataFrame, name: str) -> None:
    ticks = sorted(set(table["comparisons"]))
    panel.set_xscale("log")
    panel.set_xticks(ticks, [f"{count:,}" for count in ticks])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("comparisons")
    panel.margins(y=0.14)
    level = np.log(2) if name == "log_loss" else 0.0
    panel.axhline(level, color="0.7", linewidth=0.6, zorder=0)
    if name == "log_loss":
        panel.text(
            *(0.99, level, "chance "),
            transform=panel.get_yaxis_transform(),
            **{"fontsize": 6.5, "color": "0.4", "ha": "right", "va": "bottom"},
        )


def _draw_pairs(panel: Axes, table: pd.DataFrame, colour: Mapping[str, Any]) -> None:
    """Every run: held-out log-loss and gold at the largest n; large dots learned from more comparisons."""
    single = table[table["curve"] == "replicate"]
    places = {count: place for place, count in enumerate(sorted(set(table["comparisons"])))}
    for rm, hue in colour.items():
        of = single[single["rm"] == rm]
        area = [5.0 + 7.0 * places[count] for count in of["comparisons"]]
        panel.scatter(of["log_loss"], of["gold"], s=area, color=hue, alpha=0.7, linewidths=0)
    panel.axhline(0, color="0.7", linewidth=0.6, zorder=0)
    panel.axvline(np.log(2), color="0.7", linewidth=0.6, zorder=0)
    panel.set_xlabel("held-out log-loss (nats a pair)")
    panel.set_ylabel(PANELS["gold"])
    panel.margins(0.1)
