"""Utility against n under best-of-n by utility plus error, for light and heavy tails (2407.14503, Figure B.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from analysis.best_of_n.estimator import expected_best_of_n
from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs.arms import BEST_OF_N
from analysis.statistics.claims import Claim, Thresholds, equivalent, exceeds, thresholds
from analysis.worlds.independent_error import ERRORS, UTILITIES, w3, w3_best_of_n
from analysis.worlds.world import Size
from rlhf_lab.functional.divergence import best_of_n_bound
from rlhf_lab.functional.intervals import Estimate, Interval
from rlhf_lab.store.records import Run

Floats = NDArray[np.float64]

NAME = "kwa2024_figB3"
SWEEPS = ()  # everything is computed: no run is read

LIGHT, LEVY = "normal", "Levy"  # errors: of a light tail; without a mean
PER_FOLD = 96  # points of a curve to each factor 4 of n, among which the peak is sought
THIN = 8  # one in so many is drawn
PAPERS = 8  # 4^0 to 4^8 answers are what the paper draws,
LONGER = {("t10", "t5"): 10}  # but for one pair
LAST = max(PAPERS, *LONGER.values())
SIZE = Size(prompts=32, questions=32, answers=4**PAPERS)  # tables for the estimator
SDS = "SDs of utility before selection"


@dataclass(frozen=True)
class Pair:
    """A utility and an error by name, and the utility of best-of-n by their sum."""

    utility: str
    error: str
    value: Floats  # (K,) expected utility at NS, by quadrature
    error_bound: Floats  # (K,) of the quadrature
    estimates: list[Estimate]  # by the estimator of best-of-n at TRIED, as far as its tables go
    answers: int  # in each of its tables

    @property
    def title(self) -> str:
        """The utility and the error in words."""
        return f"{self.utility} utility, {self.error} error"

    @property
    def drawn(self) -> int:
        """How many points of the curve lie in the paper's range."""
        return LONGER.get((self.utility, self.error), PAPERS) * PER_FOLD + 1

    @property
    def peak(self) -> int:
        """The highest point in the paper's range."""
        return int(self.value[: self.drawn].argmax())

    def at(self, point: int) -> Interval:
        """Return the bounds of the quadrature on utility at a point."""
        return Interval(
            self.value[point] - self.error_bound[point], self.value[point] + self.error_bound[point]
        )


NS = 4.0 ** (
    np.arange(LAST * PER_FOLD + 1) / PER_FOLD
)  # n of a curve; between whole numbers its formula holds too
TICKS = {1: "1", 10: "10", 100: "100", 1000: "1k", 10_000: "10k", 100_000: "100k", 1_000_000: "1M"}
TRIED = 4 ** np.arange(1, PAPERS + 1)


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw a panel for each utility and a curve for each error; no run is read."""
    pairs = list(computed(SIZE))
    table, peaks = pd.concat([curve_table(pair) for pair in pairs], ignore_index=True), peaks_table(pairs)
    return FigureResult(table, peaks, claims(pairs, thresholds(NAME)), draw(pairs), [note(pairs)])


def computed(size: Size, seed: int = 0) -> Iterator[Pair]:
    """Yield every pair: its curve by quadrature, and the estimator on tables of `size`."""
    seeds = iter(np.random.SeedSequence(seed).spawn(len(UTILITIES) * len(ERRORS)))
    for utility, of_utility in UTILITIES.items():
        for error, of_error in ERRORS.items():
            value, error_bound = w3_best_of_n(NS, of_utility, of_error)
            world = w3(np.random.default_rng(next(seeds)), size, of_utility, of_error)
            mean, se = expected_best_of_n(world.proxy, world.gold, TRIED[size.answers >= TRIED])
            tables = size.prompts
            estimates = [Estimate.plain(m, s, tables - 1.0, tables) for m, s in zip(mean, se, strict=True)]
            yield Pair(utility, error, value, error_bound, estimates, size.answers)


# --- numbers ------------------------------------------------------------------------------------------------


def curve_table(pair: Pair) -> pd.DataFrame:
    """Return utility over n, by quadrature with its bounds, and by the estimator with 95 % intervals."""
    bounds = [estimate.interval() for estimate in pair.estimates]
    value, bound = pair.value[::THIN], pair.error_bound[::THIN]
    exact = {
        "curve": "quadrature",
        "n": NS[::THIN],
        "gold": value,
        "tables": 0,
        "gold_lo": value - bound,
        "gold_hi": value + bound,
    }
    estimated = {
        "curve": "estimator",
        "n": TRIED[: len(bounds)],
        "tables": pair.estimates[0].replicates,
        "gold": [estimate.value for estimate in pair.estimates],
        "gold_lo": [lo for lo, _ in bounds],
        "gold_hi": [hi for _, hi in bounds],
    }
    rows = pd.concat([pd.DataFrame(exact), pd.DataFrame(estimated)], ignore_index=True)
    rows.insert(0, "method", BEST_OF_N)
    rows.insert(1, "utility", pair.utility)
    rows.insert(2, "error", pair.error)
    rows.insert(5, "kl", best_of_n_bound(rows["n"].to_numpy(dtype=float)))  # exact: nothing ties
    return rows


def peak_interval(pair: Pair) -> Interval:
    """Return the range of n in which the peak may lie, with one point more on either side."""
    reach = pair.value[: pair.drawn] + pair.error_bound[: pair.drawn]
    as_high = np.flatnonzero(reach >= pair.at(pair.peak).lo)
    return Interval(float(NS[max(as_high[0] - 1, 0)]), float(NS[min(as_high[-1] + 1, pair.drawn - 1)]))


def last_step(pair: Pair) -> Interval:
    """Return the bounds on utility at the paper's largest n minus utility at a quarter of it."""
    last, before = pair.at(pair.drawn - 1), pair.at(pair.drawn - 1 - PER_FOLD)
    return Interval(last.lo - before.hi, last.hi - before.lo)


def peaks_table(pairs: Sequence[Pair]) -> pd.DataFrame:
    """Return where utility peaks in the paper's range, how high, and where it ends, a row for each pair and number."""
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        end = pair.drawn - 1
        numbers = {
            "n at the peak": (NS[pair.peak], peak_interval(pair)),
            "utility at the peak": (pair.value[pair.peak], pair.at(pair.peak)),
            "utility at the largest n": (pair.value[end], pair.at(end)),
            "utility at the largest n minus at a quarter of it": (middle(last_step(pair)), last_step(pair)),
        }
        columns = {
            "method": BEST_OF_N,
            "utility": pair.utility,
            "error": pair.error,
            "form": "quadrature",
            "n": pair.drawn,
            "largest_n": NS[end],
        }
        for name, (estimate, (lo, hi)) in numbers.items():
            rows.append(columns | {"parameter": name, "estimate": estimate, "lo": lo, "hi": hi})
    return pd.DataFrame(rows)


def middle(interval: Interval) -> float:
    """Return the middle of an interval."""
    return (interval.lo + interval.hi) / 2


def note(pairs: Sequence[Pair]) -> str:
    """Say how far the estimator lies from the integral."""
    points = NS[::PER_FOLD].tolist()
    deviations = [
        abs(estimate.value - pair.value[points.index(n) * PER_FOLD]) / estimate.se
        for pair in pairs
        for n, estimate in zip(TRIED, pair.estimates, strict=False)
    ]
    tables = pairs[0].estimates[0].replicates
    largest = max(float(pair.error_bound.max()) for pair in pairs)
    return (
        f"computed, not measured: the integrals are good to {largest:.1g} SD; the order-statistic estimator on "
        f"{tables} tables of {pairs[0].answers} answers lies within 2 SE of them at "
        f"{np.mean(np.array(deviations) < 2):.0%} of {len(deviations)} points, at most {max(deviations):.1f}"
    )


# --- claims -------------------------------------------------------------------------------------------------


def claims(pairs: Sequence[Pair], limits: Thresholds) -> list[Claim]:
    """Return the claims: the last step's sign, which theory gives, then peaks and Levy errors, which it does not."""
    decided = [sign_claim(pair, limits["slope"]) for pair in pairs]
    for pair in pairs:
        if pair.error == LEVY:
            decided.append(nothing_gained_claim(pair, limits["nothing_gained"]))
        elif pair.error != LIGHT:
            decided.append(
                peak_claim(pair, limits["long_peak" if pair.drawn > PAPERS * PER_FOLD + 1 else "peak"])
            )
    return decided


def sign_claim(pair: Pair, limits: Mapping[str, float]) -> Claim:
    """Claim that utility still rises at the largest n under a light tail, and falls under a heavy one."""
    light, step = pair.error == LIGHT, last_step(pair)
    size = step if light else Interval(-step.hi, -step.lo)
    return pair_claim(
        pair,
        f"utility still {'rises' if light else 'falls'} at the largest n",
        middle(step),
        step,
        limits["difference"],
        exceeds(size, limits["difference"]),
        rule=f"met: {'above' if light else 'below'} 0 as far as the integral says; else not met or undecided",
        topic="last step of n",
        unit=SDS,
        by_construction=True,
    )


def peak_claim(pair: Pair, limits: Mapping[str, float]) -> Claim:
    """Claim that utility peaks in the range of n that the paper names."""
    lo, hi = limits["least"], limits["most"]
    where = peak_interval(pair)
    return pair_claim(
        pair,
        f"utility peaks at an n between {lo:g} and {hi:g}",
        float(NS[pair.peak]),
        where,
        hi,
        equivalent(where, lo, hi),
        rule=f"met: the n that may be the peak inside [{lo:g}, {hi:g}]; not met: outside; else undecided",
        topic="n at the peak",
        unit="answers",
        primary=bool(limits.get("primary", False)),
    )


def nothing_gained_claim(pair: Pair, limits: Mapping[str, float]) -> Claim:
    """Claim that no n gains utility where the error has no mean."""
    margin, highest = limits["margin"], pair.at(pair.peak)
    return pair_claim(
        pair,
        "no n gains utility",
        float(pair.value[pair.peak]),
        highest,
        margin,
        equivalent(highest, -margin, margin),
        rule=f"met: the highest utility within {margin:g} of 0; not met: outside; else undecided",
        topic="highest utility",
        unit=SDS,
        primary=bool(limits.get("primary", False)),
    )


def pair_claim(
    pair: Pair,
    sentence: str,
    measured: float,
    interval: Interval,
    threshold: float,
    met: bool | None,
    **more: Any,
) -> Claim:
    """Return a claim about a computed curve: `n` counts its points, since nothing was sampled."""
    return Claim(
        claim=f"{pair.title}: {sentence}",
        measured=measured,
        interval=interval,
        threshold=threshold,
        n=pair.drawn,
        replicates=1,
        met=met,
        subject=pair.title,
        **more,
    )


# --- drawing ----------------------------------------------------------------------------------------------------


def draw(pairs: Sequence[Pair]) -> Figure:
    """Draw a panel for each utility: lines are the integrals, open circles the estimator on tables of answers."""
    limits = thresholds(NAME)["peak"]
    usual = limits["least"], limits["most"]
    colours: dict[str, Any] = dict(zip(ERRORS, theme.sizes(len(ERRORS)), strict=True))
    figure, axes = theme.panels(len(UTILITIES), 3.5, sharey=False)
    for panel, letter, utility in zip(axes, "ab", UTILITIES, strict=False):
        panel.axhline(0, color="0.85", linewidth=0.6, zorder=0)
        for pair in pairs:
            if pair.utility == utility:
                draw_pair(panel, pair, colours[pair.error])
        panel.set_title(f"{letter}  {utility} utility", loc="left", fontsize=8, weight="bold", pad=4)
        panel.axvspan(*usual, color="0.94", linewidth=0, zorder=-1)
        panel.set_xlabel("n: answers, of which utility + error chooses")
        scale_axes(panel, [pair for pair in pairs if pair.utility == utility])
    axes[0].set_ylabel("utility of best-of-n (SDs before selection)")
    handles: list[Any] = [
        theme.key(f"{error} error", colour, linewidth=1.5) for error, colour in colours.items()
    ]
    handles += [
        theme.key("peak", marker="o"),
        theme.key("estimator, 95 %", "0.2", marker="o", markerfacecolor="white", markeredgewidth=0.8),
    ]
    handles.append(Patch(color="0.94", label="peaks by the paper"))
    plot.legend(figure, handles)
    return figure


def draw_pair(panel: Axes, pair: Pair, colour: Any) -> None:
    """Draw one curve, bold in the paper's range and thin beyond it."""
    within = slice(None, pair.drawn, THIN)
    panel.plot(NS[::THIN], pair.value[::THIN], color=colour, linewidth=0.7, alpha=0.6)
    panel.plot(NS[within], pair.value[within], color=colour, linewidth=1.5)
    for n, estimate in zip(TRIED, pair.estimates, strict=False):
        panel.plot([n, n], estimate.interval(), color=colour, linewidth=0.8)
        panel.plot(
            n, estimate.value, "o", color=colour, markerfacecolor="white", markersize=3, markeredgewidth=0.8
        )
    if pair.error != LIGHT:
        where = NS[pair.peak], pair.value[pair.peak]
        theme.mark(panel, *where, colour)
        panel.annotate(
            f"{where[0]:,.0f}",
            where,
            (0, -10) if pair.error == "lognormal" else (0, 5),
            textcoords="offset points",
            ha="center",
            fontsize=6.5,
            color=colour,
            zorder=6,
            path_effects=[withStroke(linewidth=1.8, foreground="white")],
        )


def scale_axes(panel: Axes, pairs: Sequence[Pair]) -> None:
    """Put n on a log axis as the paper does, and end the y-axis where the curves end."""
    panel.set_xscale("log")
    panel.set_xlim(1, NS[-1] * 1.05)
    panel.xaxis.set_major_locator(FixedLocator(list(TICKS)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda n, _: TICKS[round(n)]))
    panel.xaxis.set_minor_locator(NullLocator())
    highest = max(float(pair.value.max()) for pair in pairs)
    panel.set_ylim(-0.06 * highest, 1.04 * highest)
