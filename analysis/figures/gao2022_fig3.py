"""Coefficients of gold's forms against reward-model size, best-of-n and RL (2210.10760, Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator
from numpy.typing import NDArray

from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs.arms import BEST_OF_N, MAIN, Arm, Study, common_seeds, study, title
from analysis.runs.fitting import Refits, SharedAlpha, enough_points, form_of, kl_axes, refits, shared_alpha
from analysis.runs.rank_order import order_claim
from analysis.runs.tables import fits_table
from analysis.statistics.claims import Claim, Thresholds, exceeds, thresholds
from rlhf_lab.functional.intervals import Estimate, Interval
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]

NAME = "gao2022_fig3"
SWEEPS = ("gao2022_fig1",)

PAPERS = (  # read off their figure; log10 of parameters over 3 million
    "Gao et al. 2022, Figure 3, nine sizes from 3M to 3B (theirs, read off the figure and not drawn), x = "
    "log10(size / 3M): alpha_bon ~ .49 + .065 x, beta_bon ~ .123 - .011 x, beta_RL ~ .170 - .019 x, alpha_RL = .384"
)
OWN, ONE = "an alpha each", "one alpha for all sizes"


class Sizes(NamedTuple):
    """The arms of one method that differ in the reward model's size, fitted along one KL."""

    arms: list[Arm]  # with the same replicates
    axis: str
    fits: dict[str, Refits]  # label -> coefficients of every replicate
    shared: SharedAlpha | None  # of a trained policy

    @property
    def name(self) -> str:
        """The method and, of best-of-n, the KL in words."""
        method = title(self.arms[0].method)
        return method if self.axis == "exact" else f"{method}, {self.axis} KL"

    def coefficient(self, name: str) -> dict[str, Floats]:
        """Label -> `alpha` or `beta` (B, R); beta of the fits with one alpha where there are such."""
        if name == "beta" and self.shared is not None:
            return {arm.label: beta for arm, beta in zip(self.arms, self.shared.betas, strict=True)}
        return {label: getattr(found, name) for label, found in self.fits.items()}


def make(runs: Sequence[Run]) -> FigureResult:
    """One row a method: alpha and beta over size, of replicates and of their pooled points."""
    read = study(runs)
    found = [one for method in read.methods for one in of_sizes(read.of(method, MAIN))]
    if not found:
        raise MissingRuns("no method has runs against reward models of two sizes with points for a fit")
    fitted = fits_table(Study(tuple({arm.title: arm for one in found for arm in one.arms}.values())))
    table = coefficients_table(found, fitted)
    notes = [f"{one.name}: {_trends(one)}" for one in found]
    return FigureResult(table, fitted, claims(found, thresholds(NAME)), draw(table), [*notes, PAPERS])


def of_sizes(arms: Sequence[Arm]) -> list[Sizes]:
    """One method's sizes along each of its KLs; nothing where fewer than two can be fitted."""
    found = []
    has_form = bool(arms) and (arms[0].method == BEST_OF_N or not arms[0].chooses)
    for axis in kl_axes(arms[0]) if has_form else ():
        kept = [arm for arm in arms if np.isfinite(arm.parameters) and enough_points(arm, axis)]
        seeds = common_seeds(kept) if kept else []
        if seeds and len({arm.parameters for arm in kept}) >= 2:
            kept = [arm.of_seeds(seeds) for arm in kept]
            shared = shared_alpha(kept) if form_of(kept[0]) == "rl" else None
            found.append(Sizes(kept, axis, {arm.label: refits(arm, axis) for arm in kept}, shared))
    return found


# --- claims -------------------------------------------------------------------------------------------------


def claims(found: Sequence[Sizes], limits: Thresholds) -> list[Claim]:
    """Of best-of-n that alpha grows and beta falls, under both KLs; of RL that beta falls and one alpha does."""
    made: list[Claim] = []
    for one in found:
        if one.shared is None:
            made += _order(one, "alpha", 1.0, limits)
        made += _order(one, "beta", -1.0, limits)
        made += _one_alpha_does(one, limits)
    return made


def _order(sizes: Sizes, name: str, sign: float, limits: Thresholds) -> list[Claim]:
    ways = "a larger alpha" if sign > 0 else "a smaller beta"
    less = "" if sign > 0 else "minus "
    values = sizes.coefficient(name)
    return order_claim(
        sizes.arms,
        lambda arm: values[arm.label],
        f"{sizes.name}: larger reward models have {ways} ({less}Spearman over runs)",
        limits[f"{name}_order"],
        sign,
        subject=sizes.name,
        topic=f"{name} {'grows' if sign > 0 else 'falls'} with size",
    )


def _one_alpha_does(sizes: Sizes, limits: Thresholds) -> list[Claim]:
    """That one alpha for all sizes costs little, within replicates."""
    if sizes.shared is None:
        return []
    rule, cost = limits["one_alpha"], Estimate.of(sizes.shared.cost)
    interval, threshold = cost.interval(), rule["cost"]
    enough = cost.replicates >= rule["replicates"] and len(sizes.arms) >= rule["sizes"]
    above = exceeds(Interval(-interval.hi, -interval.lo), -threshold)
    return [
        Claim(
            claim=f"{sizes.name}: one alpha for all sizes fits nearly as well as one each (ratio of RMSE)",
            measured=cost.value,
            interval=interval,
            threshold=threshold,
            n=sizes.arms[0].questions,
            replicates=cost.replicates,
            met=above if enough else None,
            rule=f"met: interval below {threshold:g}; not met: not below it; undecided under "
            f"{rule['replicates']:g} replicates of {rule['sizes']:g} sizes",
            unit="ratio of RMSE",
            subject=sizes.name,
            topic="one alpha does",
            conditional=cost.is_conditional,
        )
    ]


# --- numbers ------------------------------------------------------------------------------------------------


def coefficients_table(found: Sequence[Sizes], fitted: pd.DataFrame) -> pd.DataFrame:
    """One row an arm, KL and coefficient (`curve` mean, replicates pooled, 95 % interval) and one a replicate."""
    rows: list[dict[str, Any]] = []
    for one in found:
        form = form_of(one.arms[0])
        for arm in one.arms:
            about = {"method": arm.method, "rm": arm.rm, "label": arm.label, "parameters": arm.parameters}
            about |= {"x": one.axis, "replicates": len(arm.curves), "questions": arm.questions}
            of = fitted[(fitted["method"] == arm.method) & (fitted["x"] == one.axis)]
            each = of[(of["label"] == arm.label) & (of["form"] == form)]
            together = of[of["label"].isin([arm.label, "all sizes"]) & (of["form"] == "rl, one alpha")]
            for alphas, some in ((OWN, each), (ONE, together)):
                for _, fit in some[some["parameter"].isin(["alpha", "beta"])].iterrows():
                    rows.append(about | {"alphas": alphas, "curve": "mean", "replicate": ""} | _numbers(fit))
            for name in ("alpha", "beta"):
                values = getattr(one.fits[arm.label], name)[0]
                for seeds, value in zip(arm.seeds, values, strict=True):
                    of_run = {"alphas": OWN, "curve": "replicate", "replicate": seeds}
                    rows.append(about | of_run | {"parameter": name, "estimate": value})
    return pd.DataFrame(rows)


def _numbers(fit: pd.Series[Any]) -> dict[str, Any]:
    return {name: fit[name] for name in ("parameter", "estimate", "lo", "hi")}


def _trends(sizes: Sizes) -> str:
    """Least-squares slope of each coefficient on log10 of size, within replicates; the one alpha."""
    decades = np.log10([arm.parameters for arm in sizes.arms])
    weights = (decades - decades.mean()) / ((decades - decades.mean()) ** 2).sum()
    found = {
        f"{name} a decade of parameters": np.stack(list(sizes.coefficient(name).values()), axis=-1) @ weights
        for name in ("alpha", "beta")
    }
    if sizes.shared is not None:
        found["one alpha"] = sizes.shared.alpha
    return "; ".join(f"{name} {_in_words(Estimate.of(draws))}" for name, draws in found.items())


def _in_words(found: Estimate) -> str:
    lo, hi = found.interval()
    return f"{found.value:+.3f} [{lo:+.3f}, {hi:+.3f}]"


# --- ink ----------------------------------------------------------------------------------------------------


def draw(table: pd.DataFrame) -> Figure:
    """A row a method, a column a coefficient: pooled replicates with 95 % intervals, single replicates faint."""
    methods = list(dict.fromkeys(table["method"]))
    figure = theme.blank(theme.WIDTH * 0.86, 2.0 * len(methods) + 0.5)
    grid = figure.subplots(len(methods), 2, squeeze=False, sharex=True)
    for row, method in zip(grid, methods, strict=True):
        rows = table[table["method"] == method]
        for panel, name in zip(row, ("alpha", "beta"), strict=True):
            _draw_panel(panel, rows[rows["parameter"] == name])
            panel.set_ylabel(f"{name} ({_unit(rows, name)})")
        theme.letter(row[0], title(method))
        words = ("tie-aware KL", "bound on KL") if (rows["x"] != "exact").all() else (OWN, ONE)
        handles = [theme.key(words[0], DARK, marker="o"), theme.key(words[1], LIGHT, marker="s")]
        row[1].legend(handles=handles, loc="best", fontsize=6.5, handletextpad=0.2)
    for panel in grid[-1]:
        panel.set_xlabel("parameters of the reward model")
    return figure


DARK, LIGHT = "#31688e", "#d1495b"


def _unit(rows: pd.DataFrame, name: str) -> str:
    """Of a coefficient: SDs of gold per d, or of best-of-n's beta per d squared."""
    return "SD / nat" if name == "beta" and (rows["x"] != "exact").all() else "SD / nat$^{1/2}$"


def _draw_panel(panel: Axes, rows: pd.DataFrame) -> None:
    first = rows["x"].iloc[0]
    main = (rows["x"] == first) & (rows["alphas"] == OWN)
    for chosen, colour, marker, shift in ((main, DARK, "o", 0.95), (~main, LIGHT, "s", 1.06)):
        mean = rows[chosen & (rows["curve"] == "mean")]
        lone = rows[chosen & (rows["curve"] == "replicate")]
        panel.plot(lone["parameters"] * shift, lone["estimate"], ".", color=colour, alpha=0.35, markersize=3)
        if mean["estimate"].nunique() == 1 and (mean["alphas"] == ONE).all() and len(mean):
            panel.axhspan(mean["lo"].iloc[0], mean["hi"].iloc[0], color=colour, alpha=0.14, linewidth=0)
            panel.axhline(mean["estimate"].iloc[0], color=colour, linewidth=1.3)
            continue
        x = mean["parameters"] * shift
        panel.vlines(x, mean["lo"], mean["hi"], color=colour, linewidth=1.6)
        panel.plot(x, mean["estimate"], color=colour, linewidth=0.7, alpha=0.6)
        panel.plot(x, mean["estimate"], marker, color=colour, markersize=4.5, markeredgecolor="white")
    panel.set_xscale("log")
    ticks = rows.drop_duplicates("rm")
    panel.set_xticks(ticks["parameters"], ticks["rm"])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.margins(x=0.08, y=0.18)
