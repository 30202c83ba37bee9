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
from analysis.drawing import controls, plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks, goodhart, turnover_claims
from analysis.runs.arms import BEST_OF_N, CONTROL, CONTROLS, FEW_PAIRS, MAIN, PENALISED, study, title
from analysis.runs.fitting import LEAST_D_RL
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import fits_table, points_table
from analysis.statistics.claims import ClaimTable
from analysis.statistics.fits import Form, predict
from rlhf_lab.functional.divergence import best_of_n_bound
from rlhf_lab.store.records import Run

NAME = "gao2022_fig1"
SWEEPS = ("gao2022_fig1",)

FIT_FORM: dict[str, Form] = {BEST_OF_N: "bon"}  # every other method is drawn with the rl form


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw the figure of any sweep's runs: quickstart and hh_harmless are this figure, too."""
    data = study(runs)
    claims = ClaimTable(NAME, GOLD_SDS)
    turnover_claims.claim_overoptimization(claims, data)
    table = controls.with_oracle(points_table(data))
    fitted = pd.concat([fits_table(data), pd.DataFrame(goodhart.rows(data))], ignore_index=True)
    notes = [*goodhart.notes(data), *checks.run_notes(data)]
    return FigureResult(table, fitted, claims, draw(table, fitted), notes)


def draw(table: pd.DataFrame, fitted: pd.DataFrame) -> Figure:
    """Draw a panel for each method: gold solid with 95 % bands and faint replicates, proxy dashed, content dotted.

    Controls on other rewards, and those without any, are lines of their own styles in each panel of a trained method.
    """
    methods = controls.methods(table)
    figure, axes = theme.panels(len(methods))
    colours = colours_of(table)
    for panel, method in zip(axes, methods, strict=True):
        of_method = table[table["method"] == method]
        rows = of_method[~of_method["arm"].isin(controls.DRAWN)]
        if method != BEST_OF_N:
            controls.draw(panel, controls.of(table, method))
        for label in dict.fromkeys(rows["label"]):
            arm = rows[rows["label"] == label]
            draw_arm(panel, arm, colours[label])
            if arm["arm"].iloc[0] != CONTROL:
                draw_fit(panel, fitted[(fitted["method"] == method) & (fitted["label"] == label)], arm)
        theme.square_root_nats(panel, (rows if len(rows) else of_method)["kl"].max())
        panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
        theme.letter(panel, title(method))
        panel.set_xlabel(kl_axis(rows["kl_estimator"]))
        if method == BEST_OF_N:
            draw_n_axis(panel, rows)
    axes[0].set_ylabel("gain (SDs on the initial policy)")
    lowest, highest = y_range(table)
    axes[0].set_ylim(lowest, highest)
    plot.legend(figure, legend_entries(table, colours, lowest))
    return figure


def y_range(table: pd.DataFrame) -> tuple[float, float]:
    """Return the range that all arms but the controls need, and no less than gold of those that rise.

    Controls may fall too far to see the others.
    """
    numbers = ["gold", "gold_lo", "gold_hi", "proxy", "content"]
    of_controls = table["arm"].isin(CONTROLS)
    shown = table.loc[~of_controls if not of_controls.all() else of_controls].reindex(columns=numbers)
    shown = np.append(shown.to_numpy(float), table.loc[of_controls, "gold"].clip(lower=0))
    lowest, highest = float(np.nanmin(shown)), float(np.nanmax(shown))
    room_for_title = 0.12 * (highest - lowest)
    return lowest - 0.06 * (highest - lowest), highest + room_for_title


def draw_arm(panel: Axes, rows: pd.DataFrame, colour: ColorType) -> None:
    """Draw the curves of one arm, and mark the peak of gold."""
    control, mean = rows["arm"].iloc[0] == CONTROL, rows[rows["curve"] == "mean"]
    plot.curve(panel, rows, "gold", colour, width=1.1 if control else 1.6)
    plot.curve(panel, mean, "proxy", colour, style=theme.DASHED, width=1.0, band=0)
    if not control:
        if "content" in mean:
            plot.curve(panel, mean, "content", colour, style=theme.DOTTED, width=1.1, band=0)
        plot.peak(panel, mean, "gold", colour)


def draw_fit(panel: Axes, fitted: pd.DataFrame, rows: pd.DataFrame) -> None:
    """Draw the form of the method over the points to which it was fitted."""
    form: Form = FIT_FORM.get(rows["method"].iloc[0], "rl")
    chosen = fitted[(fitted["form"] == form) & (fitted["x"] != "bound")].set_index("parameter")["estimate"]
    if chosen.reindex(["alpha", "beta"]).isna().any():
        return
    mean = rows[(rows["curve"] == "mean") & rows["kl_good"]]
    d = np.linspace(0.05 if form == "bon" else LEAST_D_RL, mean["d"].max(), 200)
    panel.plot(d**2, predict(form, chosen["alpha"], chosen["beta"], d), color="0.15", linewidth=0.6)


def draw_n_axis(panel: Axes, rows: pd.DataFrame) -> None:
    """Put n on top, at its KL averaged over arms, with the analytic bound on KL that Gao et al. plot."""
    mean = rows[rows["curve"] == "mean"].groupby("n_or_step")["kl"].mean()
    ticks = [n for n in 4 ** np.arange(1, 12) if n <= mean.index.max()]
    top = panel.secondary_xaxis("top")
    top.set_xticks(np.interp(ticks, mean.index, mean.to_numpy()))
    top.set_xticklabels([f"{n}\n({best_of_n_bound(n):.2f})" for n in ticks])
    top.set_xlabel("n (and its bound log n - (n-1)/n, nats)", fontsize=7, color="0.3")
    top.tick_params(colors="0.3", labelsize=6.5, length=2)
    top.spines["top"].set_visible(False)


def colours_of(table: pd.DataFrame) -> dict[str, ColorType]:
    """Return the colour of each label: viridis over sizes, one warm colour for few pairs, grey for coin flips."""
    main = list(dict.fromkeys(table.loc[table["arm"].isin([MAIN, PENALISED]), "label"]))
    colours: dict[str, ColorType] = dict(zip(main, theme.sizes(len(main)), strict=True))
    for arm, colour in ((FEW_PAIRS, theme.ORANGE), (CONTROL, theme.GREY)):
        colours |= {label: colour for label in table.loc[table["arm"] == arm, "label"]}
    return colours


def legend_entries(table: pd.DataFrame, colours: dict[str, ColorType], lowest: float) -> list[Line2D]:
    """Return the reward models, then the styles of lines and marks; a control that leaves the panel says how far."""
    ends = table[(table["arm"] == CONTROL) & (table["curve"] == "mean")].groupby("label")["gold"].min()
    beyond = {label: f" (on to {end:.1f})" for label, end in ends.items() if end < lowest}
    entries = [
        theme.key(f"RM {label}{beyond.get(label, '')}", colour, linewidth=2)
        for label, colour in colours.items()
    ]
    entries.append(theme.key("gold, 95 % band", linewidth=1.6))
    entries.append(theme.key("proxy, in its own SDs", linewidth=1, linestyle=theme.DASHED))
    if "content" in table and table["content"].notna().any():
        entries.append(theme.key("gold.content", linewidth=1.1, linestyle=theme.DOTTED))
    entries += controls.keys(table)
    return [*entries, theme.key("fit", linewidth=0.6), *plot.peak_keys("gold")]
