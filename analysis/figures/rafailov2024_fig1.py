"""Overoptimization without a reward model: DPO, IPO and SLiC over their betas (2406.02900, Figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import DRAWS, SEED, Arm, Study, common_seeds, study, title
from analysis.runs.fitting import curve_of, fitted_points
from analysis.runs.gold_lost import difference_se, loss_at, split
from analysis.runs.naming import GOLD_SDS
from analysis.runs.penalties import FEWEST, by_beta, finals, interior_maximum
from analysis.runs.rank_order import spearman
from analysis.runs.tables import points_table
from analysis.statistics import fits
from analysis.statistics.claims import Claim, Thresholds, by_ses, thresholds
from analysis.statistics.resampling import Resample, weights_of
from analysis.statistics.turnover import turnover
from rlhf_lab.functional.intervals import Estimate, conditional
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]
Members = dict[str, list[Arm]]  # method -> its arms, the strongest pull first

NAME = "rafailov2024_fig1"
SWEEPS = ("rafailov2024_fig1",)


class Correlation(NamedTuple):
    """Of the implicit reward's accuracy and gold at the last checkpoints."""

    estimate: Estimate
    runs: int


def make(runs: Sequence[Run]) -> FigureResult:
    """A panel a method, a colour a beta; and accuracy of the implicit reward against gold."""
    read = study(runs)
    members = {method: arms for method in read.methods if (arms := by_beta(read, method))}
    if not members:
        raise MissingRuns("no run of a method with a beta is made")
    table = points_table(Study(tuple(arm for arms in members.values() for arm in arms)))
    table["accuracy"] = _accuracy_column(table, members)
    fitted, correlation = pd.DataFrame(_fit_rows(members)), accuracy_and_gold(members)
    fitted = pd.concat([fitted, pd.DataFrame(_correlation_rows(correlation))], ignore_index=True)
    return FigureResult(
        table,
        fitted,
        claims(members, thresholds(NAME)),
        draw(members, table, fitted),
        [*_notes(fitted, correlation), *checks.kl_bound_notes(read)],
    )


# --- claims -------------------------------------------------------------------------------------------------


def claims(members: Members, limits: Thresholds) -> list[Claim]:
    """Of each method the maximum between betas and the decline while training; IPO against DPO."""
    found: list[Claim] = []
    for arms in members.values():
        found += _interior(arms, limits)
        found.append(_within(arms[-1], limits))
    return found + _smaller_drop(members, limits)


def _interior(arms: Sequence[Arm], limits: Thresholds) -> list[Claim]:
    """The peak chosen on one half of the questions, its height over both ends measured on the other."""
    last = finals(arms)
    if last is None or len(arms) < FEWEST:
        return []
    return [
        interior_maximum(
            f"{last.title}: final gold is highest at a beta between the smallest and the largest",
            last.stacked("gold")[:, :, 1:],  # without the initial policy
            split(last),
            limits["interior_maximum"],
            unit=GOLD_SDS,
            subject=last.title,
            topic="maximum between betas",
        )
    ]


def _within(arm: Arm, limits: Thresholds) -> Claim:
    found = turnover(arm.stacked("gold"), split(arm))
    return by_ses(
        f"{arm.title}: gold falls while training at the smallest beta, {arm.settings['beta']:g}",
        found.drop,
        found.se,
        limits["while_training"],
        arm.questions,
        unit=GOLD_SDS,
        subject=f"{title(arm.method)}, {arm.rm}",
        topic="decline while training",
        replicates=len(arm.curves),
        conditional=conditional(len(arm.curves)),
    )


def _smaller_drop(members: Members, limits: Thresholds) -> list[Claim]:
    """Gold lost over falling betas to the largest KL that both methods reach: DPO's minus IPO's."""
    if not {"dpo", "ipo"} <= set(members):
        return []
    dpo, ipo = finals(members["dpo"]), finals(members["ipo"])
    if dpo is None or ipo is None:
        return []
    half = split(dpo)
    reach = min(float(curves.normalised().kl.max()) for curves in (*dpo.curves, *ipo.curves))
    lost, less = (np.stack([loss_at(curves, reach, half) for curves in one.curves]) for one in (dpo, ipo))
    count = min(len(lost), len(less))
    return [
        by_ses(
            f"IPO loses less gold than DPO over falling betas, from the peak to KL {reach:.3g}",
            float(lost.mean() - less.mean()),
            difference_se(lost, less),
            limits["ipo_loses_less"],
            dpo.questions,
            unit=GOLD_SDS,
            subject="IPO and DPO",
            topic="IPO loses less",
            replicates=count,
            conditional=conditional(count),
        )
    ]


# --- fits ---------------------------------------------------------------------------------------------------


def _fit_rows(members: Members) -> list[dict[str, Any]]:
    """Both forms on the checkpoints of all betas of a method; the one with the smaller RMSE is marked."""
    rows: list[dict[str, Any]] = []
    for method, arms in members.items():
        every = [(arm, fitted_points(arm, "exact")) for arm in arms]
        kept = [(arm, masks) for arm, masks in every if all(mask.any() for mask in masks)]
        points = sum(int(mask.sum()) for _, masks in kept for mask in masks)
        if points < fits.FEWEST_POINTS:
            continue
        curve = _pooled([curve_of(arm, "exact", masks) for arm, masks in kept])
        replicates = min(len(arm.curves) for arm, _ in kept)
        rng = np.random.default_rng
        found = {form: fits.bootstrap(form, curve, replicates, rng(SEED), DRAWS) for form in fits.FORMS}
        best = min(found, key=lambda form: found[form].fit.rmse)
        about = {"method": method, "label": "all betas", "replicates": replicates, "n": arms[0].questions}
        for form, one in found.items():
            about |= {
                "form": form,
                "rmse": one.fit.rmse,
                "best_form": form == best,
                "points": points,
                "draws": DRAWS,
            }
            rows += [
                about
                | {"parameter": name, "estimate": getattr(one.fit, name), **one.intervals[name]._asdict()}
                for name in fits.PARAMETERS
            ]
    return rows


def _pooled(curves: Sequence[fits.Curve]) -> fits.Curve:
    """The points of several arms in one resample: arms draw the same questions together."""

    def points(resample: Resample) -> tuple[Floats, Floats]:
        parts = [curve(resample) for curve in curves]
        return np.concatenate([d for d, _ in parts]), np.concatenate([gold for _, gold in parts])

    return points


# --- accuracy of the implicit reward ------------------------------------------------------------------------


def accuracy_and_gold(members: Members) -> dict[str, Correlation]:
    """Method, and all of them -> Spearman's correlation over betas within a replicate, where accuracies are told."""
    groups = dict(members)
    if len(members) > 1:
        groups["all"] = [arm for arms in members.values() for arm in arms]
    found = {name: _correlation(arms) for name, arms in groups.items() if len(arms) >= FEWEST}
    return {name: one for name, one in found.items() if one is not None}


def _correlation(arms: Sequence[Arm]) -> Correlation | None:
    weights = weights_of(arms[0].drawn.resamples, arms[0].questions)
    total = weights.sum(axis=1)
    draws = []
    for seeds in common_seeds(arms):
        places = [(arm, arm.seeds.index(seeds)) for arm in arms]
        accuracy = np.array([final_accuracy(arm.runs[i]) for arm, i in places])
        gold = np.stack(
            [weights @ arm.curves[i].by_question("gold")[:, -1] / total for arm, i in places], axis=1
        )
        if np.isfinite(accuracy).all() and np.ptp(accuracy) > 0:
            draws.append(spearman(accuracy, gold))
    return Correlation(Estimate.of(np.stack(draws, axis=1)), len(draws) * len(arms)) if draws else None


def final_accuracy(run: Run) -> float:
    """Share of held-out pairs whose chosen answer the implicit reward prefers, at the end; NaN if it is not told."""
    told = run.stage_metrics(run.manifest()["inputs"]["samples"][0])
    return next(
        (line["heldout_accuracy"] for line in reversed(told) if "heldout_accuracy" in line), float("nan")
    )


def _correlation_rows(correlation: dict[str, Correlation]) -> list[dict[str, Any]]:
    return [
        {
            "method": name,
            "label": "all betas",
            "form": "last checkpoints",
            "parameter": "rank correlation",
            "estimate": one.estimate.value,
            **one.estimate.interval()._asdict(),
            "replicates": one.estimate.replicates,
            "points": one.runs,
            "note": "accuracy of the implicit reward and gold, over betas within a replicate",
        }
        for name, one in correlation.items()
    ]


def _accuracy_column(table: pd.DataFrame, members: Members) -> pd.Series:
    """Of every row at a last checkpoint the accuracy: a run's, or its mean over the runs of an arm."""
    runs = {
        (arm.method, arm.label, seeds): final_accuracy(run)
        for arms in members.values()
        for arm in arms
        for seeds, run in zip(arm.seeds, arm.runs, strict=True)
    }
    told = pd.Series(runs)
    names = list(zip(table["method"], table["label"], table["replicate"], strict=True))
    means = told.groupby(level=[0, 1]).mean()
    found = [runs[name] if name in runs else means[name[:2]] for name in names]
    last = table.groupby(["method", "label"])["n_or_step"].transform("max")
    return pd.Series(found, index=table.index).where(table["n_or_step"] == last)


def _notes(fitted: pd.DataFrame, correlation: dict[str, Correlation]) -> list[str]:
    found = []
    for method, rows in fitted[fitted["form"].isin(fits.FORMS)].groupby("method", sort=False):
        rmse = {form: float(rows.loc[rows["form"] == form, "rmse"].iloc[0]) for form in fits.FORMS}
        winner = min(fits.FORMS, key=rmse.__getitem__)
        words = " against ".join(f"{rmse[form]:.3f} of {fits.FORMULA[form]}" for form in fits.FORMS[::-1])
        found.append(f"{title(str(method))}: RMSE {words}; the smaller is that of {fits.FORMULA[winner]}")
    for name, one in correlation.items():
        lo, hi = one.estimate.interval()
        whose = "all methods" if name == "all" else title(name)
        found.append(
            f"{whose}: rank correlation of implicit-reward accuracy and gold over betas {one.estimate.value:+.2f} "
            f"[{lo:+.2f}, {hi:+.2f}], {one.runs} runs"
        )
    return found


# --- ink ----------------------------------------------------------------------------------------------------


def draw(members: Members, table: pd.DataFrame, fitted: pd.DataFrame) -> Figure:
    """Gold against KL: checkpoints of a beta joined, last ones marked; then gold against accuracy."""
    betas = sorted({arm.settings["beta"] for arms in members.values() for arm in arms}, reverse=True)
    colour = dict(zip(betas, theme.sizes(len(betas)), strict=True))
    means = table[table["curve"] == "mean"]
    figure, axes = theme.panels(len(members) + 1, 3.2, sharey=False)
    for panel, (method, arms) in zip(axes, members.items(), strict=False):
        for arm in arms:
            rows = means[(means["method"] == method) & (means["label"] == arm.label)]
            theme.curve(panel, rows, colour[arm.settings["beta"]])
            theme.mark(panel, rows["kl"].iloc[-1], rows["gold"].iloc[-1], colour[arm.settings["beta"]])
        _draw_fits(panel, fitted[fitted["method"] == method], means.loc[means["method"] == method, "d"].max())
        panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
        theme.square_root_nats(panel, means["kl"].max())
        theme.letter(panel, title(method))
    theme.share_limits(axes[:-1])
    axes[0].set_ylabel("gold (SDs on the initial policy)")
    axes[(len(members) - 1) // 2].set_xlabel(kl_axis(means["kl_estimator"]))
    _draw_accuracies(axes[-1], members, table, colour)
    handles = [theme.key(f"beta {beta:g}", colour[beta], linewidth=2) for beta in betas]
    handles += [
        theme.key("last checkpoint", marker="o"),
        theme.key(fits.FORMULA["rl"], "0.1", linewidth=0.8),
        theme.key(fits.FORMULA["bon"], "0.1", linewidth=0.8, linestyle=theme.DOTTED),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, handlelength=2.0, columnspacing=1.4)
    return figure


def _draw_fits(panel: Axes, fitted: pd.DataFrame, largest: float) -> None:
    from analysis.runs.fitting import LEAST_D_RL

    d = np.linspace(LEAST_D_RL, max(largest, LEAST_D_RL), 100)
    styles: dict[fits.Form, Any] = {"rl": "-", "bon": theme.DOTTED}
    for form, style in styles.items():
        found = fitted[fitted["form"] == form].set_index("parameter")["estimate"]
        if {"alpha", "beta"} <= set(found.index):
            gold = fits.predict(form, found["alpha"], found["beta"], d)
            panel.plot(d**2, gold, color="0.1", linewidth=0.8, linestyle=style, zorder=4, scaley=False)


def _draw_accuracies(panel: Axes, members: Members, table: pd.DataFrame, colour: dict[float, Any]) -> None:
    """A point for each run's last checkpoint; the marker says the method."""
    markers = dict(zip(members, "osD^v", strict=False))
    runs = table[(table["curve"] == "replicate") & table["accuracy"].notna()]
    for method, arms in members.items():
        for arm in arms:
            rows = runs[(runs["method"] == method) & (runs["label"] == arm.label)]
            panel.plot(
                rows["accuracy"],
                rows["gold"],
                markers[method],
                **{
                    "color": colour[arm.settings["beta"]],
                    "markersize": 3.5,
                    "markeredgewidth": 0,
                    "alpha": 0.85,
                },
            )
        panel.plot([], [], markers[method], color="0.2", markersize=3.5, label=title(method))
    panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    panel.set_xlabel("accuracy of the implicit reward")
    panel.yaxis.tick_right()
    panel.spines["right"].set_visible(True)
    panel.spines["left"].set_visible(False)
    panel.legend(loc="lower left", handlelength=1.0, fontsize=6.5)
