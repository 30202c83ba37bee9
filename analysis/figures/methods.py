"""Every method on one axis of KL: how much gold each gains, and loses again, at equal KL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import controls, plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import BEST_OF_N, MAIN, PENALISED, Arm, Study, study, title
from analysis.runs.gold_lost import Ranking, against, gold_at, is_curve, ranking, reach, split
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import observed_rows, points_table
from analysis.runs.turnover_claims import claim_turn
from analysis.statistics.claims import ClaimTable
from analysis.statistics.resampling import Bootstrapped, percentile_interval
from analysis.statistics.turnover import Turnover, turnover
from rlhf_lab.store.records import MissingRuns, Run

NAME = "methods"
SWEEPS = ("methods",)

FAMILIES = {  # heading -> method -> colour; others are grey
    "chosen among SFT answers": {
        BEST_OF_N: "#1f1f1f",
        "soft_bon": "#1f77b4",
        "best_of_poisson": "#17a2b8",
        "mbr_bon": "#7fb3e6",
        "pessimism": "#3c4fa0",
        "hedge": "#00786c",
    },
    "trained on rollouts": {
        "ppo": "#d1495b",
        "grpo": "#e08e45",
        "rloo": "#8c2d19",
        "online_dpo": "#e377c2",
        "expert_iteration": "#b8860b",
    },
    "trained on pairs": {"dpo": "#2ca02c", "ipo": "#9467bd", "slic": "#a3b018", "kto": "#145a32"},
}
COLOURS = {method: colour for colours in FAMILIES.values() for method, colour in colours.items()}


class Entry(NamedTuple):
    """One method, with what it gains and loses."""

    arm: Arm
    name: str  # in words
    turn: Turnover
    reach: float  # nats: the KL that all its replicates reach
    gold: tuple[float, float, float]  # at the common KL, with its 95 % interval; NaN beyond its reach

    @property
    def family(self) -> str:
        """The method without its settings: HedgeTune's are called hedge:RULE:QUESTIONS."""
        return self.arm.method.partition(":")[0]

    @property
    def look(self) -> dict[str, Any]:
        """The colour, style and width of its curve."""
        return {
            "colour": COLOURS.get(self.family, theme.GREY),
            "style": theme.TOLD_GOLD if self.arm.runs[0].uses_gold else "-",
            "width": 2.2 if self.arm.method == BEST_OF_N else 1.3,
        }

    @property
    def key(self) -> Line2D:
        """Its entry in the legend."""
        colour, style, width = self.look.values()
        return theme.key(self.name, colour, linestyle=style, linewidth=width)


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw gold against KL of every method on one reward model, the smallest of best-of-n's, and what each loses."""
    data = study(runs)
    best = next(iter(data.of(BEST_OF_N, MAIN)), None)
    if best is None:
        raise MissingRuns("no run of best-of-n is made, which the others are compared with")
    arms = [arm for arm in data.arms if arm.kind in (MAIN, PENALISED) and arm.rm == best.rm]
    claims = ClaimTable(NAME, GOLD_SDS)
    ranked = ranking([arm for arm in arms if is_curve(arm)], claims.limits["loses_most"]["least_kl"])
    entries = [entry_of(arm, arms, ranked.reach) for arm in arms]
    curves = [entry for entry in entries if is_curve(entry.arm)]
    for entry in curves:
        claim_turns(claims, entry)
    for entry in curves:
        if entry.arm is not best:
            claim_loses_more(claims, entry, best)
    claim_loses_most(claims, ranked, entries)
    table = points_table(Study((*arms, *(arm for arm in data.arms if arm.kind in controls.DRAWN))))
    told_gold = {(arm.method, arm.label) for arm in arms if arm.runs[0].uses_gold}
    table["uses_gold"] = [names in told_gold for names in zip(table["method"], table["label"], strict=True)]
    fits = pd.DataFrame([row for entry in entries for row in entry_rows(entry, ranked)])
    notes = [*notes_of(entries, ranked), *checks.run_notes(data)]
    return FigureResult(table, fits, claims, draw(table, entries, ranked), notes)


def entry_of(arm: Arm, arms: Sequence[Arm], common_kl: float) -> Entry:
    """Return a method's numbers; its name has settings where several arms are of one method."""
    alone = sum(other.method == arm.method for other in arms) == 1
    words = arm.label.removeprefix(arm.rm).removeprefix(", ")
    name = title(arm.method) if alone or not words else f"{title(arm.method)}, {words}"
    turn = turnover(arm.stacked("gold"), split(arm))
    return Entry(arm, name, turn, reach(arm), gold_at(arm, common_kl))


# --- claims -------------------------------------------------------------------------------------------------


def claim_turns(claims: ClaimTable, entry: Entry) -> None:
    """Claim `gold_turns`: gold rises to a peak and falls from it."""
    claim_turn(claims, "gold_turns", f"method, {entry.name}", "gold", entry.turn, entry.arm.questions)


def claim_loses_more(claims: ClaimTable, entry: Entry, best: Arm) -> None:
    """Claim `loses_more` than best-of-n under both of its KLs; the one under which less more is lost is reported."""
    sides = [against(entry.arm, best, axis) for axis in ("tie-aware", "bound")]
    least, least_kl = min(sides, key=lambda side: side.more.value), claims.limits["loses_more"]["least_kl"]
    claims.all_above(
        "loses_more",
        f"method, {entry.name}",
        f"it loses more gold since its peak than best-of-n, at the largest KL that both reach, {least.kl:.3g}",
        [side.more for side in sides],
        least.questions,
        "loses more than best-of-n",
        enough=min(side.kl for side in sides) >= least_kl and all(side.turned for side in sides),
    )


def claim_loses_most(claims: ClaimTable, ranked: Ranking, entries: Sequence[Entry]) -> None:
    """Claim `loses_most` of the method that loses most; met or undecided, as it is chosen by its loss."""
    if len(ranked.arms) < 2:
        return
    name = {entry.arm.title: entry.name for entry in entries}[ranked.arms[ranked.worst].title]
    gap = ranked.gap()
    ahead = Bootstrapped(float(gap[0]), gap[1:], min(len(arm.curves) for arm in ranked.arms))
    claims.above(
        "loses_most",
        "all methods",
        f"{name} loses more gold since its peak than any other of {len(ranked.arms)} methods at KL "
        f"{ranked.reach:.3g} ({ranked.probability()[ranked.worst]:.0%} of bootstrap draws)",
        ahead,
        ranked.questions,
        "loses most",
        threshold=0.0,
    )


# --- tables and notes ---------------------------------------------------------------------------------------


def entry_rows(entry: Entry, ranked: Ranking) -> list[dict[str, Any]]:
    """Return the peak, fall, gold at the common KL, loss to it and how often it is the largest, of one method."""
    rows = observed_rows(entry.arm)
    shared = ("method", "rm", "arm", "label", "replicates", "n", "draws", "x")
    named = {column: rows[0][column] for column in shared}
    measured = {
        "drop from the peak to the end": (entry.turn.fall.value, *entry.turn.fall.interval()),
        f"gold at KL {ranked.reach:.3g}": entry.gold,
        "largest KL of all replicates": (entry.reach, np.nan, np.nan),
    }
    titles = [arm.title for arm in ranked.arms]
    if entry.arm.title in titles:
        place = titles.index(entry.arm.title)
        loss = ranked.losses["tie-aware"][:, place]
        lo, hi = percentile_interval(loss[1:], replicates=len(entry.arm.curves))
        measured[f"loss since the peak at KL {ranked.reach:.3g}"] = (loss[0], lo, hi)
        measured["share of draws with the largest loss"] = (ranked.probability()[place], np.nan, np.nan)
    for parameter, (value, lo, hi) in measured.items():
        rows.append(
            named | {"form": "observed", "parameter": parameter, "estimate": value, "lo": lo, "hi": hi}
        )
    return rows


def notes_of(entries: Sequence[Entry], ranked: Ranking) -> list[str]:
    """Return a line for each method, the largest loss first, then which are not ranked, and why."""
    places = {arm.title: place for place, arm in enumerate(ranked.arms)}
    losses, probability = ranked.losses["tie-aware"][0], ranked.probability()
    in_ranking = [entry for entry in entries if entry.arm.title in places]
    lines = []
    for entry in sorted(in_ranking, key=lambda entry: -losses[places[entry.arm.title]]):
        place, (gold, lo, hi) = places[entry.arm.title], entry.gold
        lines.append(
            f"{entry.name}: loses {losses[place]:+.2f} of its peak at KL {ranked.reach:.3g}, the most in "
            f"{probability[place]:.0%} of draws; gold there {gold:+.2f} [{lo:+.2f}, {hi:+.2f}]"
        )
    left = [
        f"{entry.name} ({entry.reach:.2g})"
        for entry in entries
        if entry.arm.title not in places and is_curve(entry.arm)
    ]
    if left:
        lines.append(f"not ranked, as the KL that all their runs reach is too small: {', '.join(left)}")
    return lines


# --- drawing ------------------------------------------------------------------------------------------------


def draw(table: pd.DataFrame, entries: Sequence[Entry], ranked: Ranking) -> Figure:
    """Draw mean gold of every method with its band and its peak; best-of-n also over the bound on its KL, dotted."""
    figure, (panel,) = theme.panels(1, 4.6)
    figure.set_figwidth(theme.WIDTH)
    means = table[table["curve"] == "mean"]
    for entry in entries:
        rows = means[(means["method"] == entry.arm.method) & (means["label"] == entry.arm.label)]
        draw_entry(panel, rows, entry)
    controls.draw(panel, means[means["arm"].isin(controls.DRAWN)])
    theme.square_root_nats(panel, means.loc[~means["arm"].isin(controls.DRAWN), "kl"].max())
    panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    if len(ranked.arms) > 1:
        panel.axvline(ranked.reach, color="0.75", linewidth=0.6, linestyle=theme.DOTTED, zorder=0)
        look = {"transform": panel.get_xaxis_transform(), "va": "top", "fontsize": 6, "color": "0.4"}
        panel.text(ranked.reach, 1.0, " losses compared", **look)
    panel.set_xlabel(kl_axis(means["kl_estimator"]))
    panel.set_ylabel("gold (SDs on the initial policy)")
    draw_legend(figure, entries, controls.keys(means))
    return figure


def draw_entry(panel: Axes, rows: pd.DataFrame, entry: Entry) -> None:
    """Draw one method; a rule at a single strength is a diamond."""
    colour = entry.look["colour"]
    plot.curve(panel, rows, "gold", **entry.look, band=0.08)
    if is_curve(entry.arm):
        plot.peak(panel, rows, "gold", colour)
    else:
        highest = rows.iloc[int(rows["gold"].to_numpy().argmax())]
        theme.mark(panel, highest["kl"], highest["gold"], colour, "D")
    if entry.arm.method == BEST_OF_N:
        panel.plot(rows["kl_bound"], rows["gold"], color=colour, linewidth=0.9, linestyle=theme.DOTTED)


def draw_legend(figure: Figure, entries: Sequence[Entry], of_controls: Sequence[Line2D]) -> None:
    """Put families side by side under the panel, each under its heading."""
    columns = []
    for heading, colours in FAMILIES.items():
        keys = [entry.key for entry in entries if entry.family in colours]
        if keys:
            columns.append([theme.key(heading, linewidth=0), *keys])
    columns[-1] += [entry.key for entry in entries if entry.family not in COLOURS]
    if of_controls:
        columns.append([theme.key("controls", linewidth=0), *of_controls])
    columns.append(
        [
            theme.key("marks", linewidth=0),
            *plot.peak_keys("gold"),
            theme.key("one strength", marker="D"),
            theme.key("best-of-n, KL by the bound", linestyle=theme.DOTTED, linewidth=0.9),
            theme.key("was told gold of some questions", linestyle=theme.TOLD_GOLD, linewidth=1.4),
        ]
    )
    longest = max(len(column) for column in columns)
    empty = theme.key("", linewidth=0)
    keys = [key for column in columns for key in [*column, *[empty] * (longest - len(column))]]
    legend = figure.legend(handles=keys, loc="outside lower center", ncols=len(columns), handlelength=2.2)
    for text in legend.get_texts():
        if text.get_text() in (*FAMILIES, "controls", "marks"):
            text.set_fontweight("bold")
