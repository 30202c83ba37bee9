"""Gold and proxy against sqrt(KL), best-of-n and PPO, over reward-model sizes (2210.10760, Figure 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import ColorType

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks, turnover_claims
from analysis.runs.arms import BEST_OF_N, CONTROL, FEW_PAIRS, MAIN, PENALISED, study, title
from analysis.runs.fitting import LEAST_D_RL
from analysis.runs.tables import fits_table, points_table
from analysis.statistics.claims import thresholds
from analysis.statistics.fits import Form, predict
from rlhf_lab.functional.divergence import best_of_n_bound
from rlhf_lab.store.records import Run

NAME = "gao2022_fig1"
SWEEPS = ("gao2022_fig1",)

FIT_FORM: dict[str, Form] = {BEST_OF_N: "bon"}  # every other method is drawn with the rl form


def make(runs: Sequence[Run]) -> FigureResult:
    """The figure of these runs; figures of other sweeps (quickstart, hh_harmless) are this one."""
    read = study(runs)
    table, fitted = points_table(read), fits_table(read)
    claims = turnover_claims.claims(read, thresholds(NAME))
    return FigureResult(table, fitted, claims, draw(table, fitted), checks.kl_bound_notes(read))


def draw(table: pd.DataFrame, fitted: pd.DataFrame) -> Figure:
    """One panel a method: solid gold, dashed proxy, dotted content, thin fit, 95 % bands, faint
    replicates.
    """
    methods = list(dict.fromkeys(table["method"]))
    figure, axes = theme.panels(len(methods))
    colours = _colours(table)
    for panel, method in zip(axes, methods, strict=True):
        rows = table[table["method"] == method]
        for label in dict.fromkeys(rows["label"]):
            of_arm = rows[rows["label"] == label]
            _draw_arm(panel, of_arm, colours[label])
            if of_arm["arm"].iloc[0] != CONTROL:
                _draw_fit(panel, fitted[(fitted["method"] == method) & (fitted["label"] == label)], of_arm)
        theme.square_root_nats(panel, rows["kl"].max())
        panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
        panel.text(0.02, 0.97, title(method), transform=panel.transAxes, va="top", weight="bold")
        panel.set_xlabel(kl_axis(rows["kl_estimator"]))
        if method == BEST_OF_N:
            _n_axis(panel, rows)
    axes[0].set_ylabel("reward (SDs of gold on the initial policy)")
    lowest, highest = _y_range(table)
    axes[0].set_ylim(lowest, highest)
    _legend(figure, table, colours, lowest)
    return figure


def _y_range(table: pd.DataFrame) -> tuple[float, float]:
    """What all arms but the control need: it may fall so far that nothing could be told of the others."""
    shown = table.loc[table["arm"] != CONTROL].reindex(
        columns=["gold", "gold_lo", "gold_hi", "proxy", "content"]
    )
    lowest, highest = float(np.nanmin(shown)), float(np.nanmax(shown))
    return lowest - 0.06 * (highest - lowest), highest + 0.12 * (highest - lowest)  # above: the panel's name


def _draw_arm(panel: Axes, rows: pd.DataFrame, colour: ColorType) -> None:
    arm = rows["arm"].iloc[0]
    mean = rows[rows["curve"] == "mean"]
    solid = mean[mean["kl_good"]]  # where the estimate of KL is good
    bold = 1.6 if arm != CONTROL else 1.1
    panel.fill_between(mean["kl"], mean["gold_lo"], mean["gold_hi"], color=colour, alpha=0.16, linewidth=0)
    for columns, style, width in (
        ("gold", "-", bold),
        ("proxy", theme.DASHED, 1.0),
        ("content", theme.DOTTED, 1.1),
    ):
        if columns not in mean or mean[columns].isna().all() or (columns == "content" and arm == CONTROL):
            continue
        panel.plot(mean["kl"], mean[columns], linestyle=style, color=colour, linewidth=width * 0.6, alpha=0.5)
        panel.plot(solid["kl"], solid[columns], linestyle=style, color=colour, linewidth=width)
    if mean["replicates"].iloc[0] > 1:
        for _, replicate in rows[rows["curve"] == "replicate"].groupby("replicate", sort=False):
            panel.plot(replicate["kl"], replicate["gold"], color=colour, linewidth=0.5, alpha=0.45)
    peak = mean.iloc[int(mean["gold"].to_numpy().argmax())]
    last = peak["n_or_step"] == mean["n_or_step"].iloc[-1]  # the peak lies at this KL or later
    if arm != CONTROL:
        theme.mark(panel, peak["kl"], peak["gold"], colour, ">" if last else "o")


def _draw_fit(panel: Axes, fitted: pd.DataFrame, rows: pd.DataFrame) -> None:
    """The method's own form over the points it was fitted on."""
    method = rows["method"].iloc[0]
    form: Form = FIT_FORM.get(method, "rl")
    chosen = fitted[(fitted["form"] == form) & (fitted["x"] != "bound")].set_index("parameter")["estimate"]
    if chosen.reindex(["alpha", "beta"]).isna().any():
        return
    mean = rows[(rows["curve"] == "mean") & rows["kl_good"]]
    d = np.linspace(0.05 if form == "bon" else LEAST_D_RL, mean["d"].max(), 200)
    gold = predict(form, chosen["alpha"], chosen["beta"], d)
    panel.plot(d**2, gold, color="0.15", linewidth=0.6)


def _n_axis(panel: Axes, rows: pd.DataFrame) -> None:
    """On top: n at its KL averaged over arms, and the analytic bound on KL that Gao et al. plot."""
    mean = rows[rows["curve"] == "mean"].groupby("n_or_step")["kl"].mean()
    ticks = [n for n in 4 ** np.arange(1, 12) if n <= mean.index.max()]
    top = panel.secondary_xaxis("top")
    top.set_xticks(np.interp(ticks, mean.index, mean.to_numpy()))
    top.set_xticklabels([f"{n}\n({best_of_n_bound(n):.2f})" for n in ticks])
    top.set_xlabel("n (and its bound log n - (n-1)/n, nats)", fontsize=7, color="0.3")
    top.tick_params(colors="0.3", labelsize=6.5, length=2)
    top.spines["top"].set_visible(False)


def _colours(table: pd.DataFrame) -> dict[str, ColorType]:
    """Label -> colour: viridis over sizes, one warm colour for few pairs, grey for the control."""
    main = list(dict.fromkeys(table.loc[table["arm"].isin([MAIN, PENALISED]), "label"]))
    colours: dict[str, ColorType] = dict(zip(main, theme.sizes(len(main)), strict=True))
    for arm, colour in ((FEW_PAIRS, theme.ORANGE), (CONTROL, theme.GREY)):
        colours |= {label: colour for label in table.loc[table["arm"] == arm, "label"]}
    return colours


def _legend(figure: Figure, table: pd.DataFrame, colours: dict[str, ColorType], lowest: float) -> None:
    ends = table[(table["arm"] == CONTROL) & (table["curve"] == "mean")].groupby("label")["gold"].min()
    beyond = {label: f" (on to {end:.1f})" for label, end in ends.items() if end < lowest}
    arms = [
        Line2D([], [], color=colour, linewidth=2, label=f"RM {label}{beyond.get(label, '')}")
        for label, colour in colours.items()
    ]
    styles = [
        Line2D([], [], color="0.2", linewidth=1.6, label="gold, 95 % band"),
        Line2D([], [], color="0.2", linewidth=1, linestyle=theme.DASHED, label="proxy, rescaled"),
    ]
    if "content" in table and table["content"].notna().any():
        styles.append(
            Line2D([], [], color="0.2", linewidth=1.1, linestyle=theme.DOTTED, label="gold.content")
        )
    styles += [
        Line2D([], [], color="0.2", linewidth=0.6, label="fit"),
        Line2D([], [], color="0.2", linewidth=0, marker="o", markersize=4, label="gold's peak"),
        Line2D([], [], color="0.2", linewidth=0, marker=">", markersize=4, label="peak at this KL or later"),
    ]
    figure.legend(
        handles=[*arms, *styles], loc="outside lower center", ncols=4, handlelength=2.2, columnspacing=1.4
    )
