"""Ink of arms that are compared in one respect: gold over KL a condition, and differences to the plain arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import ColorType

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import theme
from analysis.runs.ablation import Versus, name
from analysis.runs.arms import Arm
from rlhf_lab.functional.intervals import Estimate

PLAIN = "0.15"
HUES = ("#3c6fb5", "#d1495b", "#2a9d6f", "#e08e45", "#9c6aa8", "#8c6d31")  # others, in order

Colours = Mapping[str, str]
Number = Callable[[Versus], Estimate]


def colours(arms: Sequence[Arm], group: str) -> dict[str, str]:
    """What sets an arm apart -> colour; dark is the plain one, which comes first in its condition."""
    names = list(dict.fromkeys(name(arm, group) for arm in arms))
    return dict(zip(names, [PLAIN, *HUES], strict=False))


def draw(
    table: pd.DataFrame,
    panels: Mapping[str, Sequence[Arm]],
    found: Sequence[Versus],
    group: str,
    margin: float,
    number: Number = lambda one: one.end,
    called: str = "at the end",
) -> Figure:
    """A panel a condition, gold (solid, 95 % band) and proxy (dashed) against KL; a last one of differences."""
    colour = colours([arm for arms in panels.values() for arm in arms], group)
    figure, axes = theme.panels(len(panels) + 1, 3.3, sharey=False, widths=[1.0] * len(panels) + [0.9])
    reach = max(furthest(table, arms) for arms in panels.values())
    for panel, (title, arms) in zip(axes, panels.items(), strict=False):
        frontier(panel, table, arms, colour, group, reach)
        theme.letter(panel, title if len(panels) < 3 else title.replace(", ", ",\n"))
    theme.share_limits(axes[:-1])
    axes[0].set_ylabel("reward (SDs of gold\non the initial policy)")
    shown = {one.arm.title: one for one in found}
    under = {
        title: [shown[arm.title] for arm in arms if arm.title in shown] for title, arms in panels.items()
    }
    rows = [(name(one.arm, group), one) for of in under.values() for one in of]
    headings = [title for title, of in under.items() for _ in of] if len(panels) > 1 else []
    differences(axes[-1], rows, colour, group, margin, number, headings)
    plain = next((name(one.plain, group) for one in found), "")
    axes[-1].set_xlabel(f"gold minus {plain}\n{called} (SDs)")
    legend(figure, colour)
    return figure


def furthest(table: pd.DataFrame, arms: Sequence[Arm]) -> float:
    """The largest KL of arms' mean curves, nats."""
    of = table["label"].isin([arm.label for arm in arms]) & table["method"].isin([arm.method for arm in arms])
    return float(table.loc[of & (table["curve"] == "mean"), "kl"].max())


def frontier(
    panel: Axes, table: pd.DataFrame, arms: Sequence[Arm], colour: Colours, group: str, reach: float
) -> None:
    """Mean gold and proxy of arms over KL; a dot is gold's peak, a triangle one at this KL or later."""
    means, drawn = table[table["curve"] == "mean"], []
    for arm in arms:
        rows = means[(means["method"] == arm.method) & (means["label"] == arm.label)]
        gold_and_proxy(panel, rows, colour[name(arm, group)])
        drawn.extend(rows["kl_estimator"])
    theme.square_root_nats(panel, reach, gap=0.14)
    panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    panel.set_xlabel(kl_axis(drawn).replace(": ", ":\n"))
    panel.margins(y=0.12)


def gold_and_proxy(panel: Axes, rows: pd.DataFrame, colour: ColorType) -> None:
    """Mean gold and proxy of one arm over KL; a dot is gold's peak, a triangle one at this KL or later."""
    theme.curve(panel, rows, colour)
    theme.curve(panel, rows, colour, "proxy")
    peak = rows.iloc[int(rows["gold"].to_numpy().argmax())]
    last = peak["n_or_step"] == rows["n_or_step"].iloc[-1]
    theme.mark(panel, peak["kl"], peak["gold"], colour, ">" if last else "o")


def curve_keys() -> list[Line2D]:
    """Entries of a legend for what `gold_and_proxy` draws."""
    return [
        theme.key("gold, 95 % band", linewidth=1.5),
        theme.key("proxy, rescaled", linestyle=theme.DASHED, linewidth=0.9),
        theme.key("gold's peak", marker="o"),
        theme.key("peak at this KL or later", marker=">"),
    ]


def differences(
    panel: Axes,
    rows: Sequence[tuple[str, Versus]],
    colour: Colours,
    group: str,
    margin: float,
    number: Number = lambda one: one.end,
    headings: Sequence[str] = (),
) -> None:
    """One row an arm: its difference to the plain arm with its 95 % interval, the margin in grey; rows with the same
    heading stand under it.
    """
    panel.axvspan(-margin, margin, color="0.92", linewidth=0, zorder=0)
    panel.axvline(0, color="0.7", linewidth=0.6, zorder=1)
    row = -1.0
    for place, (words, one) in enumerate(rows):
        row += 1
        if headings and headings[place] not in headings[:place]:
            panel.text(0.01, row - 0.2, headings[place], transform=panel.get_yaxis_transform(), fontsize=6.5)
            row += 0.8
        hue, estimate = colour[name(one.arm, group)], number(one)
        lo, hi = estimate.interval()
        panel.plot([lo, hi], [row, row], color=hue, linewidth=2.2)
        panel.plot(estimate.value, row, "o", color=hue, markersize=5, markeredgecolor="white")
        panel.text(0.01, row - 0.2, words, transform=panel.get_yaxis_transform(), fontsize=6)
    panel.set_yticks([])
    panel.set_ylim(row + 0.4, -0.7)


def legend(figure: Figure, colour: Colours) -> None:
    """Colours, then styles."""
    handles = [theme.key(words, hue, linewidth=2) for words, hue in colour.items()]
    handles += curve_keys()
    figure.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=2.0, columnspacing=1.4)
