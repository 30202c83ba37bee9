"""Panels for arms that are compared in one config group: gold over KL in each condition, and differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import ColorType

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import controls, plot, theme
from analysis.runs.ablation import Versus, name
from analysis.runs.arms import Arm
from rlhf_lab.functional.intervals import Estimate

PLAIN = "0.15"
HUES = ("#3c6fb5", "#d1495b", "#2a9d6f", "#e08e45", "#9c6aa8", "#8c6d31")  # others, in order

Colours = Mapping[str, str]
Number = Callable[[Versus], Estimate]


def colours(arms: Sequence[Arm], group: str) -> dict[str, str]:
    """Return a colour for each option of the config group; dark is the plain one, which comes first."""
    names = list(dict.fromkeys(name(arm, group) for arm in arms))
    return dict(zip(names, [PLAIN, *HUES], strict=False))


def draw(
    table: pd.DataFrame,
    arms_of: Mapping[str, Sequence[Arm]],
    compared: Sequence[Versus],
    group: str,
    margin: float,
    number: Number = lambda versus: versus.end,
    number_name: str = "at the end",
) -> Figure:
    """Draw a panel for each condition, gold (solid, 95 % band) and proxy (dashed) over KL, and one of differences.

    `arms_of` has the arms of each condition by its title; `number` is the difference that the last panel shows.
    """
    colour_of = colours([arm for arms in arms_of.values() for arm in arms], group)
    figure, axes = theme.panels(len(arms_of) + 1, 3.3, sharey=False, widths=[1.0] * len(arms_of) + [0.9])
    reach = max(furthest(table, arms) for arms in arms_of.values())
    for panel, (title, arms) in zip(axes, arms_of.items(), strict=False):
        frontier(panel, table, arms, colour_of, group, reach)
        theme.letter(panel, title if len(arms_of) < 3 else title.replace(", ", ",\n"))
    theme.share_limits(axes[:-1])
    axes[0].set_ylabel("reward (SDs of gold\non the initial policy)")
    versus_of = {versus.arm.title: versus for versus in compared}
    rows, headings = [], []
    for title, arms in arms_of.items():
        for arm in arms:
            if arm.title in versus_of:
                rows.append((name(arm, group), versus_of[arm.title]))
                headings.append(title)
    differences(axes[-1], rows, colour_of, group, margin, number, headings if len(arms_of) > 1 else [])
    plain = next((name(versus.plain, group) for versus in compared), "")
    axes[-1].set_xlabel(f"gold minus {plain}\n{number_name} (SDs)")
    legend(figure, colour_of, table)
    return figure


def furthest(table: pd.DataFrame, arms: Sequence[Arm]) -> float:
    """Return the largest KL of the arms' mean curves, in nats."""
    labels, methods = [arm.label for arm in arms], [arm.method for arm in arms]
    shown = table["label"].isin(labels) & table["method"].isin(methods) & (table["curve"] == "mean")
    return float(table.loc[shown, "kl"].max())


def frontier(
    panel: Axes, table: pd.DataFrame, arms: Sequence[Arm], colour_of: Colours, group: str, reach: float
) -> None:
    """Draw mean gold and proxy of arms over KL up to `reach` nats, and gold of the controls of a trained method."""
    means, estimators = table[table["curve"] == "mean"], []
    for arm in arms:
        rows = means[(means["method"] == arm.method) & (means["label"] == arm.label)]
        gold_and_proxy(panel, rows, colour_of[name(arm, group)])
        estimators.extend(rows["kl_estimator"])
    if arms and not arms[0].chooses:
        controls.draw(panel, controls.of(table, arms[0].method))
    theme.square_root_nats(panel, reach, gap=0.14)
    panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    panel.set_xlabel(kl_axis(estimators).replace(": ", ":\n"))
    panel.margins(y=0.12)


def gold_and_proxy(panel: Axes, rows: pd.DataFrame, colour: ColorType) -> None:
    """Draw mean gold and proxy of one arm over KL, with a mark where gold is highest."""
    plot.curve(panel, rows, "gold", colour)
    plot.curve(panel, rows, "proxy", colour, style=theme.DASHED, width=0.9, band=0)
    plot.peak(panel, rows, "gold", colour)


def curve_keys() -> list[Line2D]:
    """Return the entries of a legend for what `gold_and_proxy` draws."""
    return [
        theme.key("gold, 95 % band", linewidth=1.5),
        theme.key("proxy, in its own SDs", linestyle=theme.DASHED, linewidth=0.9),
        *plot.peak_keys("gold"),
    ]


def differences(
    panel: Axes,
    rows: Sequence[tuple[str, Versus]],
    colour_of: Colours,
    group: str,
    margin: float,
    number: Number = lambda versus: versus.end,
    headings: Sequence[str] = (),
) -> None:
    """Draw a row for each arm, its difference to the plain arm with its 95 % interval; the margin is shaded.

    Rows with the same heading stand under it.
    """
    height, estimates = -1.0, []
    for place, (words, versus) in enumerate(rows):
        height += 1
        if headings and headings[place] not in headings[:place]:
            panel.text(
                0.01, height - 0.2, headings[place], transform=panel.get_yaxis_transform(), fontsize=6.5
            )
            height += 0.8
        estimates.append((height, number(versus), colour_of[name(versus.arm, group)]))
        panel.text(0.01, height - 0.2, words, transform=panel.get_yaxis_transform(), fontsize=6)
    plot.forest(panel, estimates, margin=margin)
    panel.set_ylim(height + 0.4, -0.7)


def legend(figure: Figure, colour_of: Colours, table: pd.DataFrame) -> None:
    """Put the legend of colours, of the styles of lines and of the controls in the table under the panels."""
    names = [theme.key(words, colour, linewidth=2) for words, colour in colour_of.items()]
    plot.legend(figure, [*names, *curve_keys(), *controls.keys(table)])
