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

from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs.arms import BEST_OF_N, MAIN, Arm, Study, common_seeds, study, title
from analysis.runs.fitting import Refits, SharedAlpha, enough_points, form_of, kl_axes, refits, shared_alpha
from analysis.runs.rank_order import claim_size_order
from analysis.runs.tables import fits_table, with_interval
from analysis.statistics.claims import ClaimTable
from rlhf_lab.functional.intervals import Estimate
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
        """Return `alpha`, `beta` or their `ratio`, beta / alpha, (B, R) by label.

        Beta is that of the fits with one alpha where there are such; the ratio is of fits with an alpha each.
        """
        if name == "ratio":
            return {label: fit.beta / fit.alpha for label, fit in self.fits.items()}
        if name == "beta" and self.shared is not None:
            return {arm.label: beta for arm, beta in zip(self.arms, self.shared.betas, strict=True)}
        return {label: getattr(fit, name) for label, fit in self.fits.items()}


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw alpha and beta over size, a row for each method, of replicates and of their pooled points."""
    data = study(runs)
    by_method = [sizes for method in data.methods for sizes in of_sizes(data.of(method, MAIN))]
    if not by_method:
        raise MissingRuns("no method has runs against reward models of two sizes with points for a fit")
    claims = ClaimTable(NAME)
    for sizes in by_method:
        claim_coefficients(claims, sizes)
    fitted = fits_table(Study(tuple({arm.title: arm for sizes in by_method for arm in sizes.arms}.values())))
    table = pd.DataFrame([row for sizes in by_method for row in coefficient_rows(sizes, fitted)])
    notes = [f"{sizes.name}: {trends(sizes)}" for sizes in by_method]
    return FigureResult(table, fitted, claims, draw(table), [*notes, PAPERS])


def of_sizes(arms: Sequence[Arm]) -> list[Sizes]:
    """Return one method's sizes along each of its KLs; nothing where fewer than two can be fitted."""
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


def claim_coefficients(claims: ClaimTable, sizes: Sizes) -> None:
    """Claim that alpha grows and beta falls with size; of RL that beta falls, and that one alpha does for all sizes."""
    if sizes.shared is None:
        claim_order(
            claims, sizes, "alpha", "larger reward models have a larger alpha", "alpha grows with size", 1
        )
    claim_order(claims, sizes, "beta", "larger reward models have a smaller beta", "beta falls with size", -1)
    if sizes.shared is None:
        sentence = "larger reward models have a smaller beta / alpha"
        claim_order(claims, sizes, "ratio", sentence, "beta / alpha falls with size", -1)
    if sizes.shared is not None:
        claims.below(
            "one_alpha",
            sizes.name,
            "one alpha for all sizes fits nearly as well as one each (ratio of RMSE)",
            Estimate.of(sizes.shared.cost),
            sizes.arms[0].questions,
            "one alpha does",
            threshold=claims.limits["one_alpha"]["cost"],
            unit="ratio of RMSE",
            enough=len(sizes.arms) >= claims.limits["one_alpha"]["sizes"],
        )


def claim_order(
    claims: ClaimTable, sizes: Sizes, coefficient: str, sentence: str, topic: str, sign: int
) -> None:
    """Claim that a coefficient grows with size, or falls for `sign` -1."""
    values = sizes.coefficient(coefficient)
    key, arms = f"{coefficient}_order", sizes.arms
    claim_size_order(claims, key, sizes.name, sentence, arms, lambda arm: values[arm.label], topic, sign)


# --- tables and notes ---------------------------------------------------------------------------------------


def coefficient_rows(sizes: Sizes, fitted: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row for each arm, KL and coefficient, pooled with its 95 % interval, and one for each replicate."""
    rows: list[dict[str, Any]] = []
    form = form_of(sizes.arms[0])
    for arm in sizes.arms:
        named = {"method": arm.method, "rm": arm.rm, "label": arm.label, "parameters": arm.parameters}
        named |= {"x": sizes.axis, "replicates": len(arm.curves), "questions": arm.questions}
        own = fitted[(fitted["method"] == arm.method) & (fitted["x"] == sizes.axis)]
        own = own[own["parameter"].isin(["alpha", "beta"])]
        each = own[(own["label"] == arm.label) & (own["form"] == form)]
        together = own[own["label"].isin([arm.label, "all sizes"]) & (own["form"] == "rl, one alpha")]
        for alphas, fits in ((OWN, each), (ONE, together)):
            mean = named | {"alphas": alphas, "curve": "mean", "replicate": ""}
            for _, fit in fits[["parameter", "estimate", "lo", "hi"]].iterrows():
                rows.append(mean | {str(name): value for name, value in fit.items()})
        for coefficient in ("alpha", "beta"):
            values = getattr(sizes.fits[arm.label], coefficient)[0]
            for seeds, value in zip(arm.seeds, values, strict=True):
                replicate = {"alphas": OWN, "curve": "replicate", "replicate": seeds}
                rows.append(named | replicate | {"parameter": coefficient, "estimate": value})
    return rows


def trends(sizes: Sizes) -> str:
    """Return the slope of each coefficient on log10 of size within replicates, and the one alpha, in words."""
    decades = np.log10([arm.parameters for arm in sizes.arms])
    weights = (decades - decades.mean()) / ((decades - decades.mean()) ** 2).sum()
    slopes = {
        f"{name} a decade of parameters": np.stack(list(sizes.coefficient(name).values()), axis=-1) @ weights
        for name in ("alpha", "beta")
    }
    if sizes.shared is not None:
        slopes["one alpha"] = sizes.shared.alpha
    return "; ".join(f"{name} {with_interval(Estimate.of(draws), 3)}" for name, draws in slopes.items())


# --- drawing ------------------------------------------------------------------------------------------------

DARK, LIGHT = "#31688e", "#d1495b"


def draw(table: pd.DataFrame) -> Figure:
    """Draw a row for each method and a column for each coefficient; faint points are single replicates."""
    methods = list(dict.fromkeys(table["method"]))
    figure = theme.blank(theme.WIDTH * 0.86, 2.0 * len(methods) + 0.5)
    grid = figure.subplots(len(methods), 2, squeeze=False, sharex=True)
    for row, method in zip(grid, methods, strict=True):
        rows = table[table["method"] == method]
        best_of_n = (rows["x"] != "exact").all()
        for panel, name in zip(row, ("alpha", "beta"), strict=True):
            draw_panel(panel, rows[rows["parameter"] == name])
            unit = "SD / nat" if name == "beta" and best_of_n else "SD / nat$^{1/2}$"
            panel.set_ylabel(f"{name} ({unit})")
        theme.letter(row[0], title(method))
        words = ("tie-aware KL", "bound on KL") if best_of_n else (OWN, ONE)
        entries = [theme.key(words[0], DARK, marker="o"), theme.key(words[1], LIGHT, marker="s")]
        row[1].legend(handles=entries, loc="best", fontsize=6.5, handletextpad=0.2)
    for panel in grid[-1]:
        panel.set_xlabel("parameters of the reward model")
    return figure


def draw_panel(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw one coefficient over size: pooled replicates with 95 % intervals; a single alpha is a band."""
    main = (rows["x"] == rows["x"].iloc[0]) & (rows["alphas"] == OWN)
    for chosen, colour, marker, shift in ((main, DARK, "o", 0.95), (~main, LIGHT, "s", 1.06)):
        mean = rows[chosen & (rows["curve"] == "mean")]
        runs = rows[chosen & (rows["curve"] == "replicate")]
        panel.plot(runs["parameters"] * shift, runs["estimate"], ".", color=colour, alpha=0.35, markersize=3)
        if len(mean) and mean["estimate"].nunique() == 1 and (mean["alphas"] == ONE).all():
            panel.axhspan(mean["lo"].iloc[0], mean["hi"].iloc[0], color=colour, alpha=0.14, linewidth=0)
            panel.axhline(mean["estimate"].iloc[0], color=colour, linewidth=1.3)
            continue
        x, y = mean["parameters"] * shift, mean["estimate"]
        plot.intervals(panel, x, y, mean["lo"], mean["hi"], colour, marker, joined=True)
    panel.set_xscale("log")
    ticks = rows.drop_duplicates("rm")
    panel.set_xticks(ticks["parameters"], ticks["rm"])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.margins(x=0.08, y=0.18)
