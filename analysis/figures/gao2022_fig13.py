"""Epochs over the same comparisons against as many fresh ones, best-of-n (2210.10760, Figure 13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
from analysis.runs.arms import Arm, study
from analysis.runs.equal_kl import pairs
from analysis.runs.naming import GOLD_SDS
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, by_estimate, thresholds
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
    """What repeating and what fresh comparisons change, of the same replicates."""

    cells: Cells
    loss_of_epochs: Estimate  # held-out log-loss of P once minus that of P again: what the epochs gain
    loss_of_data: Estimate  # that of P again minus that of fresh ones
    gold_of_epochs: Estimate  # gold at the largest n of P again minus that of P once
    gold_of_data: Estimate  # that of fresh ones minus that of P again


def make(runs: Sequence[Run]) -> FigureResult:
    """Held-out log-loss and gold at the largest n of the three, and what epochs and fresh comparisons gain."""
    read = study([run for run in runs if run.method == "BestOfN" and naming.epochs(run)])
    found = [compared(one) for one in cells(sorted(read.arms, key=_place))]
    if not found:
        raise MissingRuns(
            "no best-of-n runs of one reward-model size are made with rm.epochs=1 and rm.epochs=E on P comparisons "
            "and with rm.epochs=1 on E times as many"
        )
    table = cells_table(found)
    return FigureResult(
        table, gains_table(found), claims(found, thresholds(NAME)), draw(table), checks.kl_bound_notes(read)
    )


def epochs(arm: Arm) -> int:
    """How often its reward models see each comparison."""
    return int(arm.runs[0].config["rm"]["epochs"])


def _place(arm: Arm) -> tuple[float, int, int]:
    return arm.parameters, comparisons(arm), epochs(arm)


def cells(arms: Sequence[Arm]) -> list[Cells]:
    """Every three arms that Figure 13 compares, with replicates in common."""
    found = [
        Cells(once, again, fresh)
        for once in arms
        for again in arms
        for fresh in arms
        if once.rm == again.rm == fresh.rm
        and epochs(once) == epochs(fresh) == 1 < epochs(again)
        and comparisons(once) == comparisons(again) == comparisons(fresh) / epochs(again)
    ]
    return [one for one in found if pairs(one.again, one.once) and pairs(one.fresh, one.again)]


def compared(of: Cells) -> Compared:
    """Paired by seeds and question."""
    return Compared(
        of,
        accuracy_difference(of.once, of.again, log_loss),
        accuracy_difference(of.again, of.fresh, log_loss),
        versus(of.again, of.once).end,
        versus(of.fresh, of.again).end,
    )


def words(arm: Arm) -> str:
    """How often how many comparisons are seen, as the paper writes it."""
    return f"{epochs(arm)} x {comparisons(arm):,}"


# --- claims -------------------------------------------------------------------------------------------------


def claims(found: Sequence[Compared], limits: Thresholds) -> list[Claim]:
    """Epochs gain nothing, and less than fresh comparisons."""
    return [claim for one in found for claim in _claims(one, limits)]


def _claims(one: Compared, limits: Thresholds) -> list[Claim]:
    once, again, fresh = one.cells
    subject, rule = f"best-of-n, {again.rm}, {words(again)}", limits["epochs_gain_nothing"]
    return [
        by_equivalence(
            f"{again.rm}: {words(again)} has no lower held-out log-loss than {words(once)}",
            *(one.loss_of_epochs, -np.inf, rule["margin"], again.questions),
            enough=one.loss_of_epochs.replicates >= rule["replicates"],
            unit=NATS,
            subject=subject,
            topic="epochs gain nothing",
        ),
        by_estimate(
            f"{again.rm}: {words(fresh)} has a lower held-out log-loss than {words(again)}",
            *(one.loss_of_data, limits["data_beat_epochs"], again.questions),
            unit=NATS,
            subject=subject,
            topic="fresh comparisons: lower log-loss",
        ),
        by_estimate(
            f"{again.rm}: {words(fresh)} has more gold than {words(again)} at {end_of(again)}",
            *(one.gold_of_data, limits["data_gain_gold"], again.questions),
            unit=GOLD_SDS,
            subject=subject,
            topic="fresh comparisons: more gold",
        ),
    ]


# --- tables -------------------------------------------------------------------------------------------------


def cells_table(found: Sequence[Compared]) -> pd.DataFrame:
    """One row an arm (`curve` is mean, with 95 % intervals over replicates and questions) and one a run."""
    arms = {arm.title: arm for one in found for arm in one.cells}
    rows = [
        row
        for arm in sorted(arms.values(), key=_place)
        for row in number_rows(
            arm, judged(arm)._asdict() | {"gold": gold_at_end(arm)}, cell=words(arm), epochs=epochs(arm)
        )
    ]
    return pd.DataFrame(rows)


def gains_table(found: Sequence[Compared]) -> pd.DataFrame:
    """What epochs and what fresh comparisons gain, with 95 % intervals."""
    rows = []
    for one in found:
        once, again, fresh = (words(arm) for arm in one.cells)
        named = {
            f"log-loss of {once} minus {again}": (one.loss_of_epochs, NATS),
            f"log-loss of {again} minus {fresh}": (one.loss_of_data, NATS),
            f"gold of {again} minus {once}": (one.gold_of_epochs, GOLD_SDS),
            f"gold of {fresh} minus {again}": (one.gold_of_data, GOLD_SDS),
        }
        for name, (estimate, unit) in named.items():
            about = {"method": "bon", "rm": one.cells.again.rm, "label": again, "form": "paired by seeds"}
            about |= {"parameter": name} | estimate.row()
            about |= {"n": one.cells.again.questions, "replicates": estimate.replicates}
            rows.append(about | {"note": f"95 % interval; {unit}"})
    return pd.DataFrame(rows)


# --- ink ----------------------------------------------------------------------------------------------------


def draw(table: pd.DataFrame) -> Figure:
    """A row a cell: held-out log-loss, and gold at the largest n; faint dots are replicates."""
    names = list(dict.fromkeys(zip(table["rm"], table["cell"], strict=True)))
    figure, axes = theme.panels(2, 0.9 + 0.34 * len(names))
    for panel, number in zip(axes, ("log_loss", "gold"), strict=True):
        for place, (rm, cell) in enumerate(names):
            _draw_cell(panel, table[(table["rm"] == rm) & (table["cell"] == cell)], number, place)
        panel.margins(x=0.08)
    axes[0].axvline(np.log(2), color="0.6", linewidth=0.8, linestyle=theme.DASHED, zorder=0)
    axes[0].text(
        *(np.log(2), 1.0, " chance"),
        transform=axes[0].get_xaxis_transform(),
        **{"fontsize": 6.5, "color": "0.4", "va": "bottom"},
    )
    axes[1].axvline(0, color="0.8", linewidth=0.6, zorder=0)
    axes[0].set_xlabel("held-out log-loss (nats a pair)")
    axes[1].set_xlabel("gold at the largest n (SDs)")
    axes[0].set_yticks(range(len(names)), [f"{cell.replace(' x ', ' × ')}, {rm}" for rm, cell in names])
    axes[0].set_ylabel("epochs × comparisons")
    axes[0].invert_yaxis()
    return figure


def _draw_cell(panel: Axes, rows: pd.DataFrame, number: str, place: int) -> None:
    mean, single = rows[rows["curve"] == "mean"].iloc[0], rows[rows["curve"] == "replicate"]
    hue = theme.sizes(2)[1] if mean["epochs"] == 1 else theme.ORANGE
    panel.plot([mean[f"{number}_lo"], mean[f"{number}_hi"]], [place, place], color=hue, linewidth=2.2)
    panel.plot(mean[number], place, "o", color=hue, markersize=5, markeredgecolor="white", zorder=5)
    panel.plot(single[number], np.full(len(single), place + 0.2), ".", color=hue, markersize=3, alpha=0.6)
