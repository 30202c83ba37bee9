"""Gold and proxy against sqrt(KL) of best-of-n, by comparisons learned from (2210.10760, Figures 4 and 19)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import ablation_panels, plot, theme
from analysis.drawing.result import FigureResult
from analysis.reward_models.data_sizes import by_comparisons, by_size, comparisons
from analysis.runs import checks
from analysis.runs.ablation import losses
from analysis.runs.arms import Study
from analysis.runs.rank_order import claim_order, order, order_row, peak_gold
from analysis.runs.tables import fits_table, points_table
from analysis.statistics.claims import ClaimTable
from rlhf_lab.store.records import Run

NAME = "gao2022_fig4"
SWEEPS = ("gao2022_data",)


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw gold and proxy over KL, a panel for each reward-model size and a line for each number of comparisons."""
    data = by_comparisons(runs)
    table = points_table(data)
    table.insert(4, "comparisons", table["label"].map({arm.label: comparisons(arm) for arm in data.arms}))
    claims, rows = ClaimTable(NAME), []
    for rm, arms in by_size(data).items():
        counts = [comparisons(arm) for arm in arms]
        peaks = order(arms, counts, [peak_gold(arm) for arm in arms])
        lost = order(arms, counts, [losses(arm) for arm in arms])
        rows.append(order_row(rm, "comparisons and peak gold", peaks))
        rows.append(order_row(rm, "comparisons and gold lost from its peak", lost))
        subject = f"best-of-n, {rm}"
        sentence = "gold peaks higher with more comparisons"
        claim_order(claims, "peak_grows", subject, sentence, peaks, "higher peak with more comparisons")
        sentence = "less gold is lost from its peak with more comparisons"
        claim_order(
            claims, "loses_less", subject, sentence, lost, "smaller loss with more comparisons", sign=-1
        )
    fitted = pd.concat([fits_table(data), pd.DataFrame(rows)], ignore_index=True)
    return FigureResult(table, fitted, claims, draw(data, table), checks.run_notes(data))


def draw(data: Study, table: pd.DataFrame) -> Figure:
    """Draw gold solid with its 95 % band and proxy dashed; dark is few comparisons."""
    arms_of = by_size(data)
    counts = sorted({comparisons(arm) for arm in data.arms})
    colours = dict(zip(counts, theme.sizes(len(counts)), strict=True))
    means = table[table["curve"] == "mean"]
    figure, axes = theme.panels(len(arms_of), 3.3)
    for panel, (rm, arms) in zip(axes, arms_of.items(), strict=True):
        for arm in arms:
            rows = means[means["label"] == arm.label]
            ablation_panels.gold_and_proxy(panel, rows, colours[comparisons(arm)])
        theme.square_root_nats(panel, means["kl"].max(), gap=0.12)
        panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
        panel.set_xlabel(kl_axis(means["kl_estimator"]).replace(": ", ":\n"))
        panel.margins(y=0.12)
        theme.letter(panel, f"{rm} reward model")
    axes[0].set_ylabel("reward (SDs of gold on the initial policy)")
    entries = [theme.key(f"{count:,} comparisons", colour, linewidth=2) for count, colour in colours.items()]
    plot.legend(figure, [*entries, *ablation_panels.curve_keys()])
    return figure
