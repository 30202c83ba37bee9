"""Gold against KL of rules that choose among SFT answers, and HedgeTune's choice of strength (2506.19248)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec
from matplotlib.lines import Line2D

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks, hedging_claims
from analysis.runs.arms import BEST_OF_N, HEDGED, Study, study, title
from analysis.runs.hedging_claims import BEST, LARGEST, choices
from analysis.runs.tables import points_table
from analysis.statistics.claims import thresholds
from analysis.worlds.hedge_tune import CURVE, ROOT, toy, w2_best_of_n
from rlhf_lab.functional.divergence import best_of_n_bound
from rlhf_lab.store.records import MissingRuns, Run

NAME = "khalaf2025_hedging"
SWEEPS = ("khalaf2025_hedging",)

LOOKS = {  # method -> colour, line style, in the order of the legend
    BEST_OF_N: ("#1b1b1b", "-"),
    "best_of_poisson": ("#0072b2", (0, (3, 1.5))),
    "soft_bon": ("#d55e00", "-"),
    "pessimism": ("#009e73", "-"),
    "mbr_bon": ("#aa4499", (0, (1, 1.1))),
}
HEDGETUNE, EXACT_FORM = "HedgeTune", "closed form"
MARKS = {LARGEST: ("s", 4.0), BEST: ("o", 8.0), HEDGETUNE: ("*", 8.5), EXACT_FORM: ("+", 5.0)}  # marker, size
HEIGHT = 5.8  # inches
NARROW_GAP = 0.13  # between labels of KL, as a share of an axis this narrow


def make(runs: Sequence[Run]) -> FigureResult:
    """The figure of these runs; every curve on the questions whose gold no run of HedgeTune looked at."""
    read = on_unseen(study(runs))
    table, chosen = pd.concat([points_table(read), toy()], ignore_index=True), choices(read)
    notes = [
        f"evaluated on the {read.arms[0].questions} questions whose gold no run of HedgeTune looked at",
        *checks.kl_bound_notes(read),
    ]
    claims = hedging_claims.claims(read, thresholds(NAME))
    return FigureResult(table, chosen, claims, draw(table, chosen), notes)


def on_unseen(read: Study) -> Study:
    """The study on the questions that every run of HedgeTune is evaluated on."""
    hedged = [curves for arm in read.arms if arm.method.startswith(HEDGED) for curves in arm.curves]
    if not hedged or BEST_OF_N not in read.methods:
        raise MissingRuns("hedging needs runs of best-of-n and of HedgeTune")
    questions = reduce(np.intersect1d, [curves.questions for curves in hedged])
    kept = (replace(arm, curves=tuple(one.on(questions) for one in arm.curves)) for arm in read.arms)
    return Study(tuple(kept))


def draw(table: pd.DataFrame, chosen: pd.DataFrame) -> Figure:
    """Above one panel a reward model; below the exact toy, and what each choice of a strength comes to."""
    figure = theme.blank(theme.WIDTH, HEIGHT)
    rms = list(dict.fromkeys(table.loc[table["method"] == BEST_OF_N, "rm"].dropna()))
    rows = figure.add_gridspec(2, 1, height_ratios=(1.35, 1))
    panels = _shared(figure, rows[0].subgridspec(1, len(rms)))
    mean = table[table["curve"] == "mean"]
    reach = mean.loc[~mean["method"].str.startswith(HEDGED), "kl"].max()
    for panel, rm, letter in zip(panels, rms, "abcdefgh", strict=False):
        _draw_rules(panel, mean[mean["rm"] == rm], chosen[chosen["rm"] == rm])
        theme.square_root_nats(panel, reach, gap=NARROW_GAP)
        _name(panel, f"{letter}  RM {rm}")
    panels[0].set_ylabel("gold (SDs on the initial policy)")
    panels[len(panels) // 2].set_xlabel(kl_axis(mean["kl_estimator"]))
    below = rows[1].subgridspec(1, 2)
    left, right = figure.add_subplot(below[0]), figure.add_subplot(below[1])
    _draw_toy(left, table)
    _name(left, f"{'abcdefgh'[len(rms)]}  exact toy")
    _draw_choices(right, chosen, rms)
    _name(right, f"{'abcdefgh'[len(rms) + 1]}  gold of best-of-n, by who chose n")
    _legend(figure, table)
    return figure


def _shared(figure: Figure, grid: GridSpecFromSubplotSpec) -> list[Axes]:
    """The panels of a row, with one y-axis."""
    first = figure.add_subplot(grid[0])
    others = [figure.add_subplot(grid[place], sharey=first) for place in range(1, grid.ncols)]
    for other in others:
        other.tick_params(labelleft=False)
    return [first, *others]


def _name(panel: Axes, text: str) -> None:
    panel.set_title(text, loc="left", fontsize=8, weight="bold", pad=4)


def _look(method: str) -> tuple:
    rule = method.removeprefix(HEDGED).rpartition(":")[0] if method.startswith(HEDGED) else method
    return LOOKS.get(rule, ("0.5", "-"))


def _questions(method: str) -> int:
    """How many questions a method of HedgeTune saw gold of."""
    return int(method.rpartition(":")[2])


def _best_informed(methods: Iterable[str]) -> list[str]:
    """The methods of HedgeTune that saw gold of the most questions."""
    hedged = [method for method in dict.fromkeys(methods) if method.startswith(HEDGED)]
    return [method for method in hedged if _questions(method) == max(map(_questions, hedged))]


def _draw_rules(panel: Axes, mean: pd.DataFrame, chosen: pd.DataFrame) -> None:
    panel.axhline(0, color="0.85", linewidth=0.6, zorder=0)
    for method in [method for method in LOOKS if method in set(mean["method"])]:
        colour, style = LOOKS[method]
        rows = mean[mean["method"] == method]
        good = rows[rows["kl_good"]]
        panel.fill_between(rows["kl"], rows["gold_lo"], rows["gold_hi"], color=colour, alpha=0.1, linewidth=0)
        panel.plot(rows["kl"], rows["gold"], color=colour, linewidth=0.7, alpha=0.5)
        panel.plot(good["kl"], good["gold"], color=colour, linestyle=style, linewidth=1.3)
    plain = mean[mean["method"] == BEST_OF_N]
    for _, row in chosen[chosen["method"] == BEST_OF_N].iterrows():
        place = (plain["n_or_step"] - row["strength"]).abs().to_numpy().argmin()
        kl, gold = plain["kl"].iloc[place], plain["gold"].iloc[place]
        _mark(panel, kl, gold, row["form"], LOOKS[BEST_OF_N][0])
    for method in _best_informed(mean["method"]):
        end = mean[mean["method"] == method].iloc[-1]
        _mark(panel, end["kl"], end["gold"], HEDGETUNE, _look(method)[0])


def _mark(panel: Axes, x: float, y: float, form: str, colour: str) -> None:
    panel.plot(x, y, linestyle="none", zorder=4 if form == BEST else 5, **_marker(form, colour))


def _marker(form: str, colour: str) -> dict[str, Any]:
    marker, size = MARKS[form]
    return {
        "marker": marker,
        "markersize": size,
        "markerfacecolor": "none" if form == BEST else colour,
        "markeredgecolor": "white" if form == HEDGETUNE else colour,
        "markeredgewidth": 0.5 if form == HEDGETUNE else 0.9,
    }


def _draw_toy(panel: Axes, table: pd.DataFrame) -> None:
    """Lines through the package's points; crosses are the closed form of best-of-n."""
    colour = LOOKS[BEST_OF_N][0]
    curves = table[table["curve"] == CURVE]
    for method in ("soft_bon", "best_of_poisson", BEST_OF_N):
        rows = curves[curves["method"] == method]
        panel.plot(
            rows["kl"], rows["gold"], color=LOOKS[method][0], linestyle=LOOKS[method][1], linewidth=1.3
        )
    n = np.array([1, 2, 4, 8, 16, 32, 64, 128])
    kl, gold = best_of_n_bound(n), w2_best_of_n(n)
    for x, y in zip(kl, gold, strict=True):
        _mark(panel, x, y, EXACT_FORM, colour)
    _mark(panel, kl[-1], gold[-1], LARGEST, colour)
    panel.annotate(
        f"n = {n[-1]}", (kl[-1], gold[-1]), (-8, -2), textcoords="offset points", fontsize=6.5, ha="right"
    )
    for _, root in table[table["curve"] == ROOT].iterrows():
        _mark(panel, root["kl"], root["gold"], HEDGETUNE, LOOKS[root["method"]][0])
        if root["method"] == BEST_OF_N:
            words, where = f"n = {root['strength']:.2f}", (root["kl"], root["gold"])
            panel.annotate(words, where, (0, 6), textcoords="offset points", fontsize=6.5, ha="center")
    panel.set_ylim(top=0.75)
    theme.square_root_nats(panel, curves["kl"].max())
    panel.set_xlabel("KL (nats): exact")
    panel.set_ylabel("expected gold")


def _draw_choices(panel: Axes, chosen: pd.DataFrame, rms: Sequence[str]) -> None:
    """For each reward model the gold of best-of-n by whoever chose n, with 95 % intervals; numbers are n."""
    panel.axhline(0, color="0.85", linewidth=0.6, zorder=0)
    colour = LOOKS[BEST_OF_N][0]
    ticks: dict[float, str] = {}
    for place, rm in enumerate(rms):
        own = _choices_of_n(chosen[chosen["rm"] == rm])
        across = place + np.linspace(-0.36, 0.36, len(own))
        for x, (words, row) in zip(across, own, strict=True):
            ticks[float(x)] = words
            panel.plot([x, x], [row["lo"], row["hi"]], color=colour, linewidth=0.9)
            _mark(panel, x, row["estimate"], row["form"], colour)
            words = f"{row['strength']:.0f}"
            panel.annotate(
                words,
                (x, row["hi"]),
                (0, 2),
                textcoords="offset points",
                fontsize=6,
                ha="center",
                color="0.35",
            )
        panel.text(
            place, 0.99, f"RM {rm}", transform=panel.get_xaxis_transform(), ha="center", va="top", fontsize=7
        )
    low, high = panel.get_ylim()
    panel.set_ylim(low, high + 0.15 * (high - low))  # the names
    panel.set_xticks(list(ticks), list(ticks.values()), rotation=90, fontsize=6)
    panel.set_ylabel("gold of best-of-n (SDs)")


def _choices_of_n(chosen: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    """Who chose, and what came of it: the proxy alone, HedgeTune from few questions to many, hindsight."""
    rows = [row for _, row in chosen.iterrows()]
    hedged = [row for row in rows if row["method"].startswith(f"{HEDGED}{BEST_OF_N}:")]
    hedged.sort(key=lambda row: _questions(row["method"]))
    first = [("proxy alone", row) for row in rows if row["form"] == LARGEST]
    last = [("hindsight", row) for row in rows if row["form"] == BEST]
    return [*first, *((f"{_questions(row['method'])} questions", row) for row in hedged), *last]


def _handles(table: pd.DataFrame) -> Iterator[Line2D]:
    for method in [method for method in LOOKS if method in set(table["method"])]:
        colour, style = LOOKS[method]
        yield Line2D([], [], color=colour, linestyle=style, linewidth=1.5, label=title(method))
    for form, words in (
        (LARGEST, "largest n: the proxy alone"),
        (BEST, "best in hindsight"),
        (HEDGETUNE, "HedgeTune (uses gold)"),
        (EXACT_FORM, "closed form"),
    ):
        yield Line2D([], [], linestyle="none", label=words, **_marker(form, "0.2"))


def _legend(figure: Figure, table: pd.DataFrame) -> None:
    figure.legend(
        handles=list(_handles(table)),
        loc="outside lower center",
        ncols=4,
        handlelength=2.4,
        columnspacing=1.4,
    )
