"""Ink of effects: a row a factor, a panel a measure, a colour a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing import theme
from analysis.runs.arms import title
from analysis.runs.designs import PEAK_D

HUES = ("#3c6fb5", "#d1495b", "#2a9d6f", "#e08e45", "#9c6aa8", "#8c6d31")  # of methods, in order
APART = 0.32  # rows of two methods of one factor


def draw(table: pd.DataFrame, titles: Mapping[str, str], margin: float) -> Figure:
    """Second minus first level with its 95 % interval; `titles` are the panels', grey the margin of gold."""
    rows, methods = list(dict.fromkeys(table["knob"])), list(dict.fromkeys(table["method"]))
    figure, axes = theme.panels(len(titles), 1.5 + 0.36 * len(rows))
    for panel, (measure, words) in zip(axes, titles.items(), strict=True):
        _panel(panel, table[table["measure"] == measure], rows, methods, 0.0 if measure == PEAK_D else margin)
        panel.set_title(words)
        panel.set_xlabel("nats$^{1/2}$" if measure == PEAK_D else "SDs of gold")
    gold = [panel for panel, measure in zip(axes, titles, strict=True) if measure != PEAK_D]
    theme.share_limits(gold)
    axes[0].set_yticks(range(len(rows)), rows)
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    handles = [theme.key(title(method), hue, marker="o") for method, hue in zip(methods, HUES, strict=False)]
    handles.append(theme.key("interval holds 0", marker="o", markerfacecolor="white"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _panel(
    panel: Axes, table: pd.DataFrame, rows: Sequence[str], methods: Sequence[str], margin: float
) -> None:
    panel.axvspan(-margin, margin, color="0.92", linewidth=0, zorder=0)
    panel.axvline(0, color="0.6", linewidth=0.6, zorder=1)
    for place in range(1, len(rows)):
        panel.axhline(place - 0.5, color="0.93", linewidth=0.5, zorder=0)
    for of in table.to_dict("records"):
        number = methods.index(of["method"])
        hue = HUES[number]
        row = rows.index(of["knob"]) + APART * (number - (len(methods) - 1) / 2)
        panel.plot([of["lo"], of["hi"]], [row, row], color=hue, linewidth=1.6)
        face = "white" if of["lo"] <= 0 <= of["hi"] else hue
        panel.plot(of["effect"], row, "o", color=hue, markersize=4.5, markerfacecolor=face)
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)
