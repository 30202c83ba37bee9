"""Overoptimization without a reward model: DPO, IPO and SLiC over their betas (2406.02900, Figure 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType
from numpy.typing import NDArray

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import controls, plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import DRAWS, SEED, Arm, Study, common_seeds, study, title
from analysis.runs.fitting import LEAST_D_RL, curve_of, fitted_points
from analysis.runs.gold_lost import loss_at, split, turned
from analysis.runs.kinds import UNTRAINED
from analysis.runs.naming import GOLD_SDS
from analysis.runs.penalties import FEWEST, by_beta, finals, peak_over_ends
from analysis.runs.rank_order import spearman
from analysis.runs.tables import points_table
from analysis.statistics import fits
from analysis.statistics.claims import ClaimTable
from analysis.statistics.resampling import Resample, weights_of
from analysis.statistics.turnover import turnover
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]
ArmsOfMethods = dict[str, list[Arm]]  # method -> its arms, the largest beta first

NAME = "rafailov2024_fig1"
SWEEPS = ("rafailov2024_fig1",)


class Correlation(NamedTuple):
    """The correlation of the implicit reward's accuracy and gold at the last checkpoints."""

    estimate: Estimate
    runs: int


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw gold over KL, a panel for each method and a colour for each beta; then gold over the accuracy of rewards."""
    data = study(runs)
    arms_of = {method: arms for method in data.methods if (arms := by_beta(data, method))}
    if not arms_of:
        raise MissingRuns("no run of a method with a beta is made")
    claims = ClaimTable(NAME, GOLD_SDS)
    for arms in arms_of.values():
        claim_interior_maximum(claims, arms)
        claim_fall_in_training(claims, arms[-1])
    claim_ipo_loses_less(claims, arms_of)
    others = [arm for arm in data.arms if arm.kind in UNTRAINED]
    table = points_table(Study((*(arm for arms in arms_of.values() for arm in arms), *others)))
    table["accuracy"] = accuracy_column(table, arms_of)
    correlations = accuracy_and_gold(arms_of)
    fits_table = pd.DataFrame([*fit_rows(arms_of), *correlation_rows(correlations)])
    lines = [*notes(fits_table, correlations), *checks.run_notes(data)]
    return FigureResult(table, fits_table, claims, draw(arms_of, table, fits_table), lines)


# --- claims -------------------------------------------------------------------------------------------------


def claim_interior_maximum(claims: ClaimTable, arms: Sequence[Arm]) -> None:
    """Claim that final gold is highest between the betas; the peak is chosen and measured on different questions."""
    last = finals(arms)
    if last is None or len(arms) < FEWEST:
        return
    ends = last.stacked("gold")[:, :, 1:]  # without the initial policy
    claims.all_above(
        "interior_maximum",
        last.title,
        "final gold is highest at a beta between the smallest and the largest",
        peak_over_ends(ends, split(last)),
        last.questions,
        "maximum between betas",
    )


def claim_fall_in_training(claims: ClaimTable, arm: Arm) -> None:
    """Claim `while_training`: gold falls from its peak while the policy trains at the smallest beta."""
    turn = turnover(arm.stacked("gold"), split(arm))
    claims.all_above(
        "while_training",
        f"{title(arm.method)}, {arm.rm}",
        f"gold rises to a peak and falls from it while training at the smallest beta, {arm.settings['beta']:g},",
        [turn.rise, turn.fall],
        arm.questions,
        "decline while training",
    )


def claim_ipo_loses_less(claims: ClaimTable, arms_of: ArmsOfMethods) -> None:
    """Claim that IPO loses less gold than DPO over falling betas, up to the largest KL that both reach."""
    if not {"dpo", "ipo"} <= set(arms_of):
        return
    dpo, ipo = finals(arms_of["dpo"]), finals(arms_of["ipo"])
    if dpo is None or ipo is None:
        return
    half = split(dpo)
    reach = min(float(curves.normalised().kl.max()) for curves in (*dpo.curves, *ipo.curves))
    of_dpo, of_ipo = (np.stack([loss_at(curves, reach, half) for curves in arm.curves]) for arm in (dpo, ipo))
    claims.above(
        "ipo_loses_less",
        "IPO and DPO",
        f"IPO loses less gold than DPO over falling betas, from the peak to KL {reach:.3g}",
        Estimate.of_difference(of_dpo, of_ipo),
        dpo.questions,
        "IPO loses less",
        enough=turned(of_dpo),
    )


# --- fits ---------------------------------------------------------------------------------------------------


def fit_rows(arms_of: ArmsOfMethods) -> list[dict[str, Any]]:
    """Return both forms fitted to the checkpoints of all betas of a method; the one with the smaller RMSE is marked."""
    rows: list[dict[str, Any]] = []
    for method, arms in arms_of.items():
        fitted = [(arm, fitted_points(arm, "exact")) for arm in arms]
        fitted = [(arm, masks) for arm, masks in fitted if all(mask.any() for mask in masks)]
        points = sum(int(mask.sum()) for _, masks in fitted for mask in masks)
        if points < fits.FEWEST_POINTS:
            continue
        curve = pooled([curve_of(arm, "exact", masks) for arm, masks in fitted])
        replicates = min(len(arm.curves) for arm, _ in fitted)
        results = {
            form: fits.bootstrap(form, curve, replicates, np.random.default_rng(SEED), DRAWS)
            for form in fits.FORMS
        }
        best = min(results, key=lambda form: results[form].fit.rmse)
        for form, result in results.items():
            for name in fits.PARAMETERS:
                rows.append(
                    {
                        "method": method,
                        "label": "all betas",
                        "replicates": replicates,
                        "n": arms[0].questions,
                        "form": form,
                        "rmse": result.fit.rmse,
                        "best_form": form == best,
                        "points": points,
                        "draws": DRAWS,
                        "parameter": name,
                        "estimate": getattr(result.fit, name),
                        **result.intervals[name]._asdict(),
                    }
                )
    return rows


def pooled(curves: Sequence[fits.Curve]) -> fits.Curve:
    """Return the points of several arms in one resample; arms draw the same questions together."""

    def points(resample: Resample) -> tuple[Floats, Floats]:
        """Return d and gold of all curves in one draw, one curve after the other."""
        parts = [curve(resample) for curve in curves]
        return np.concatenate([d for d, _ in parts]), np.concatenate([gold for _, gold in parts])

    return points


# --- accuracy of the implicit reward ------------------------------------------------------------------------


def accuracy_and_gold(arms_of: ArmsOfMethods) -> dict[str, Correlation]:
    """Return Spearman's correlation over betas within a replicate, for each method and for all of them together."""
    groups = dict(arms_of)
    if len(arms_of) > 1:
        groups["all"] = [arm for arms in arms_of.values() for arm in arms]
    correlations = {name: correlation_of(arms) for name, arms in groups.items() if len(arms) >= FEWEST}
    return {name: correlation for name, correlation in correlations.items() if correlation is not None}


def correlation_of(arms: Sequence[Arm]) -> Correlation | None:
    """Return the correlation of accuracy and gold at the last checkpoints; None where no accuracies are recorded."""
    weights = weights_of(arms[0].drawn.resamples, arms[0].questions)
    total = weights.sum(axis=1)
    draws = []
    for seeds in common_seeds(arms):
        replicates = [(arm, arm.seeds.index(seeds)) for arm in arms]
        accuracy = np.array([final_accuracy(arm.runs[i]) for arm, i in replicates])
        gold = np.stack(
            [weights @ arm.curves[i].by_question("gold")[:, -1] / total for arm, i in replicates], axis=1
        )
        if np.isfinite(accuracy).all() and np.ptp(accuracy) > 0:
            draws.append(spearman(accuracy, gold))
    return Correlation(Estimate.of(np.stack(draws, axis=1)), len(draws) * len(arms)) if draws else None


def final_accuracy(run: Run) -> float:
    """Return the share of held-out pairs that the implicit reward orders right at the end; NaN if not recorded."""
    lines = run.stage_metrics(run.manifest()["inputs"]["samples"][0])
    return next(
        (line["heldout_accuracy"] for line in reversed(lines) if "heldout_accuracy" in line), float("nan")
    )


def correlation_rows(correlations: dict[str, Correlation]) -> list[dict[str, Any]]:
    """Return a row of the table of fits for each correlation."""
    return [
        {
            "method": name,
            "label": "all betas",
            "form": "last checkpoints",
            "parameter": "rank correlation",
            "estimate": correlation.estimate.value,
            **correlation.estimate.interval()._asdict(),
            "replicates": correlation.estimate.replicates,
            "points": correlation.runs,
            "note": "accuracy of the implicit reward and gold, over betas within a replicate",
        }
        for name, correlation in correlations.items()
    ]


def accuracy_column(table: pd.DataFrame, arms_of: ArmsOfMethods) -> pd.Series:
    """Return the accuracy of every row at a last checkpoint: a run's own, or its mean over the runs of an arm."""
    accuracy = {
        (arm.method, arm.label, seeds): final_accuracy(run)
        for arms in arms_of.values()
        for arm in arms
        for seeds, run in zip(arm.seeds, arm.runs, strict=True)
    }
    means = pd.Series(accuracy).groupby(level=[0, 1]).mean()
    names = zip(table["method"], table["label"], table["replicate"], strict=True)
    values = [accuracy.get(name, means.get(name[:2], np.nan)) for name in names]
    last = table.groupby(["method", "label"])["n_or_step"].transform("max")
    return pd.Series(values, index=table.index).where(table["n_or_step"] == last)


def notes(fitted: pd.DataFrame, correlations: dict[str, Correlation]) -> list[str]:
    """Say which form fits each method better, and how accuracy and gold are correlated."""
    lines = []
    for method, rows in fitted[fitted["form"].isin(fits.FORMS)].groupby("method", sort=False):
        rmse = {form: float(rows.loc[rows["form"] == form, "rmse"].iloc[0]) for form in fits.FORMS}
        best = min(fits.FORMS, key=rmse.__getitem__)
        words = " against ".join(f"{rmse[form]:.3f} of {fits.FORMULA[form]}" for form in fits.FORMS[::-1])
        lines.append(f"{title(str(method))}: RMSE {words}; {fits.FORMULA[best]} has the smaller")
    for name, (estimate, runs) in correlations.items():
        lo, hi = estimate.interval()
        subject = "all methods" if name == "all" else title(name)
        lines.append(
            f"{subject}: rank correlation of implicit-reward accuracy and gold over betas {estimate.value:+.2f} "
            f"[{lo:+.2f}, {hi:+.2f}], {runs} runs"
        )
    return lines


# --- drawing ------------------------------------------------------------------------------------------------


def draw(arms_of: ArmsOfMethods, table: pd.DataFrame, fitted: pd.DataFrame) -> Figure:
    """Draw gold over KL, the checkpoints of a beta joined and the last ones marked; then gold over accuracy."""
    betas = sorted({arm.settings["beta"] for arms in arms_of.values() for arm in arms}, reverse=True)
    colours = dict(zip(betas, theme.sizes(len(betas)), strict=True))
    means = table[table["curve"] == "mean"]
    figure, axes = theme.panels(len(arms_of) + 1, 3.2, sharey=False)
    for panel, (method, arms) in zip(axes, arms_of.items(), strict=False):
        for arm in arms:
            rows = means[(means["method"] == method) & (means["label"] == arm.label)]
            plot.curve(panel, rows, "gold", colours[arm.settings["beta"]])
            theme.mark(panel, rows["kl"].iloc[-1], rows["gold"].iloc[-1], colours[arm.settings["beta"]])
        controls.draw(panel, controls.of(table, method))
        draw_fits(panel, fitted[fitted["method"] == method], means.loc[means["method"] == method, "d"].max())
        panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
        theme.square_root_nats(panel, means.loc[~means["arm"].isin(controls.DRAWN), "kl"].max())
        theme.letter(panel, title(method))
    theme.share_limits(axes[:-1])
    axes[0].set_ylabel("gold (SDs on the initial policy)")
    axes[(len(arms_of) - 1) // 2].set_xlabel(kl_axis(means["kl_estimator"]))
    draw_accuracies(axes[-1], arms_of, table, colours)
    handles = [theme.key(f"beta {beta:g}", colour, linewidth=2) for beta, colour in colours.items()]
    handles += [
        theme.key("last checkpoint", marker="o"),
        theme.key(fits.FORMULA["rl"], "0.1", linewidth=0.8),
        theme.key(fits.FORMULA["bon"], "0.1", linewidth=0.8, linestyle=theme.DOTTED),
        *controls.keys(table),
    ]
    plot.legend(figure, handles)
    return figure


def draw_fits(panel: Axes, fitted: pd.DataFrame, largest: float) -> None:
    """Draw both fitted forms up to the largest d."""
    d = np.linspace(LEAST_D_RL, max(largest, LEAST_D_RL), 100)
    styles: dict[fits.Form, Any] = {"rl": "-", "bon": theme.DOTTED}
    for form, style in styles.items():
        parameters = fitted[fitted["form"] == form].set_index("parameter")["estimate"]
        if {"alpha", "beta"} <= set(parameters.index):
            gold = fits.predict(form, parameters["alpha"], parameters["beta"], d)
            panel.plot(d**2, gold, color="0.1", linewidth=0.8, linestyle=style, zorder=4, scaley=False)


def draw_accuracies(
    panel: Axes, arms_of: ArmsOfMethods, table: pd.DataFrame, colours: Mapping[float, ColorType]
) -> None:
    """Draw gold over accuracy, a point for each run's last checkpoint; the marker says the method."""
    markers = dict(zip(arms_of, "osD^v", strict=False))
    runs = table[(table["curve"] == "replicate") & table["accuracy"].notna()]
    for method, arms in arms_of.items():
        for arm in arms:
            rows = runs[(runs["method"] == method) & (runs["label"] == arm.label)]
            panel.plot(
                rows["accuracy"],
                rows["gold"],
                markers[method],
                color=colours[arm.settings["beta"]],
                markersize=3.5,
                markeredgewidth=0,
                alpha=0.85,
            )
        panel.plot([], [], markers[method], color="0.2", markersize=3.5, label=title(method))
    panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    panel.set_xlabel("accuracy of the implicit reward")
    panel.yaxis.tick_right()
    panel.spines["right"].set_visible(True)
    panel.spines["left"].set_visible(False)
    panel.legend(loc="lower left", handlelength=1.0, fontsize=6.5)
