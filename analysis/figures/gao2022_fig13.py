"""Epochs over the same comparisons against as many fresh ones, best-of-n (2210.10760, Figure 13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.reward_models.accuracy import accuracy_difference
from analysis.reward_models.calibration import log_loss
from analysis.reward_models.data_sizes import comparisons, gold_at_end, judged, number_rows
from analysis.runs import checks, naming
from analysis.runs.ablation import end_of, versus
from analysis.runs.arms import Arm, study, unlike_in
from analysis.runs.equal_kl import pairs
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import estimate_row
from analysis.statistics.claims import ClaimTable
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "gao2022_fig13"
SWEEPS = ("gao2022_data",)

NATS = "nats a pair"


class Cells(NamedTuple):
    """Three arms of one reward-model size: P comparisons once, P comparisons E times, E x P comparisons once."""

    once: Arm
    again: Arm
    fresh: Arm


class Compared(NamedTuple):
    """What repeating and what fresh comparisons change, on the same replicates."""

    cells: Cells
    loss_of_epochs: Estimate  # held-out log-loss of P once minus that of P again: what the epochs gain
    loss_of_data: Estimate  # that of P again minus that of fresh ones
    gold_of_epochs: Estimate  # gold at the largest n of P again minus that of P once
    gold_of_data: Estimate  # that of fresh ones minus that of P again


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw held-out log-loss and gold at the largest n of the three, and what epochs and fresh data gain."""
    data = study([run for run in runs if run.method == "BestOfN" and naming.epochs(run)])
    compared = [compare(cells) for cells in find_cells(sorted(data.arms, key=by_size))]
    if not compared:
        raise MissingRuns(
            "no best-of-n runs of one reward-model size are made with rm.epochs=1 and rm.epochs=E on P comparisons "
            "and with rm.epochs=1 on E times as many"
        )
    claims = ClaimTable(NAME, NATS)
    for one_size in compared:
        claim_epochs_and_data(claims, one_size)
    table = cells_table(compared)
    return FigureResult(table, gains_table(compared), claims, draw(table), checks.run_notes(data))


def epochs(arm: Arm) -> int:
    """Return how often an arm's reward models see each comparison."""
    return int(arm.runs[0].config["rm"]["epochs"])


def by_size(arm: Arm) -> tuple[float, int, int]:
    """Return what arms are put in order by: reward-model size, comparisons, epochs."""
    return arm.parameters, comparisons(arm), epochs(arm)


def find_cells(arms: Sequence[Arm]) -> list[Cells]:
    """Return every three arms that Figure 13 compares, with replicates in common."""
    return [
        Cells(once, again, fresh)
        for alike in unlike_in(arms, "rm.epochs", "preferences.pairs")
        for once in alike
        for again in alike
        for fresh in alike
        if epochs(once) == epochs(fresh) == 1 < epochs(again)
        and comparisons(once) == comparisons(again) == comparisons(fresh) / epochs(again)
        and pairs(again, once)
        and pairs(fresh, again)
    ]


def compare(cells: Cells) -> Compared:
    """Return the differences between three arms, paired by seeds and question."""
    return Compared(
        cells,
        accuracy_difference(cells.once, cells.again, log_loss),
        accuracy_difference(cells.again, cells.fresh, log_loss),
        versus(cells.again, cells.once).end,
        versus(cells.fresh, cells.again).end,
    )


def epochs_x_comparisons(arm: Arm) -> str:
    """Return how often how many comparisons are seen, as the paper writes it: "4 x 250"."""
    return f"{epochs(arm)} x {comparisons(arm):,}"


# --- claims and tables --------------------------------------------------------------------------------------


def claim_epochs_and_data(claims: ClaimTable, compared: Compared) -> None:
    """Claim that epochs gain nothing, and that fresh comparisons gain log-loss and gold over epochs."""
    arm, (once, again, fresh) = compared.cells.again, map(epochs_x_comparisons, compared.cells)
    subject, n = f"best-of-n, {arm.rm}, {again}", arm.questions
    claims.equivalent(
        "epochs_gain_nothing",
        subject,
        f"held-out log-loss after {again} comparisons is no lower than after {once}",
        compared.loss_of_epochs,
        n,
        "epochs gain nothing",
        lo=-np.inf,
    )
    sentence = f"held-out log-loss is lower after {fresh} comparisons than after {again}"
    topic = "fresh comparisons: lower log-loss"
    claims.above("data_beat_epochs", subject, sentence, compared.loss_of_data, n, topic)
    sentence = f"gold at {end_of(arm)} is higher after {fresh} comparisons than after {again}"
    topic = "fresh comparisons: more gold"
    claims.above("data_gain_gold", subject, sentence, compared.gold_of_data, n, topic, unit=GOLD_SDS)


def cells_table(compared: Sequence[Compared]) -> pd.DataFrame:
    """Return a row for each arm (`curve` is mean, with 95 % intervals) and one for each run."""
    arms = {arm.title: arm for one_size in compared for arm in one_size.cells}
    rows: list[dict[str, Any]] = []
    for arm in sorted(arms.values(), key=by_size):
        numbers = judged(arm)._asdict() | {"gold": gold_at_end(arm)}
        rows += number_rows(arm, numbers, cell=epochs_x_comparisons(arm), epochs=epochs(arm))
    return pd.DataFrame(rows)


def gains_table(compared: Sequence[Compared]) -> pd.DataFrame:
    """Return what epochs and what fresh comparisons gain, with 95 % intervals."""
    rows = []
    for one_size in compared:
        arm, (once, again, fresh) = one_size.cells.again, map(epochs_x_comparisons, one_size.cells)
        named = {"method": "bon", "rm": arm.rm, "label": again}
        for parameter, estimate, unit in (
            (f"log-loss of {once} minus {again}", one_size.loss_of_epochs, NATS),
            (f"log-loss of {again} minus {fresh}", one_size.loss_of_data, NATS),
            (f"gold of {again} minus {once}", one_size.gold_of_epochs, GOLD_SDS),
            (f"gold of {fresh} minus {again}", one_size.gold_of_data, GOLD_SDS),
        ):
            rows.append(estimate_row(named, "paired by seeds", parameter, estimate, arm.questions, unit))
    return pd.DataFrame(rows)


# --- drawing ------------------------------------------------------------------------------------------------


def draw(table: pd.DataFrame) -> Figure:
    """Draw held-out log-loss and gold at the largest n, a row for each arm; faint dots are replicates."""
    names = list(dict.fromkeys(zip(table["rm"], table["cell"], strict=True)))
    figure, axes = theme.panels(2, 0.9 + 0.34 * len(names))
    for panel, number in zip(axes, ("log_loss", "gold"), strict=True):
        for place, (rm, cell) in enumerate(names):
            draw_cell(panel, table[(table["rm"] == rm) & (table["cell"] == cell)], number, place)
        panel.margins(x=0.08)
    loss, gold = axes
    loss.axvline(np.log(2), color="0.6", linewidth=0.8, linestyle=theme.DASHED, zorder=0)
    look = {"fontsize": 6.5, "color": "0.4", "va": "bottom"}
    loss.text(np.log(2), 1.0, " chance", transform=loss.get_xaxis_transform(), **look)
    gold.axvline(0, color="0.8", linewidth=0.6, zorder=0)
    loss.set_xlabel("held-out log-loss (nats a pair)")
    gold.set_xlabel("gold at the largest n (SDs)")
    loss.set_yticks(range(len(names)), [f"{cell.replace(' x ', ' × ')}, {rm}" for rm, cell in names])
    loss.set_ylabel("epochs × comparisons")
    loss.invert_yaxis()
    return figure


def draw_cell(panel: Axes, rows: pd.DataFrame, number: str, place: int) -> None:
    """Draw the mean of one arm with its 95 % interval, and its replicates below."""
    mean, runs = rows[rows["curve"] == "mean"].iloc[0], rows[rows["curve"] == "replicate"]
    colour = theme.sizes(2)[1] if mean["epochs"] == 1 else theme.ORANGE
    panel.plot([mean[f"{number}_lo"], mean[f"{number}_hi"]], [place, place], color=colour, linewidth=2.2)
    panel.plot(mean[number], place, "o", color=colour, markersize=5, markeredgecolor="white", zorder=5)
    panel.plot(runs[number], np.full(len(runs), place + 0.2), ".", color=colour, markersize=3, alpha=0.6)
