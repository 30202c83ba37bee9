"""Every method on one axis of KL: how much gold each gains, and loses again, at equal KL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import BEST_OF_N, MAIN, PENALISED, Arm, Study, study, title
from analysis.runs.gold_lost import Ranking, against, gold_at, is_curve, ranking, reach, split
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import observed_rows, points_table
from analysis.statistics.claims import Claim, by_ses, thresholds
from analysis.statistics.resampling import percentile_interval
from analysis.statistics.turnover import Turnover, turnover
from rlhf_lab.functional.intervals import conditional
from rlhf_lab.store.records import MissingRuns, Run

NAME = "methods"
SWEEPS = ("methods",)

FAMILIES = {  # heading -> method -> colour; others are grey
    "chosen among SFT answers": {
        **{BEST_OF_N: "#1f1f1f", "soft_bon": "#1f77b4", "best_of_poisson": "#17a2b8", "mbr_bon": "#7fb3e6"},
        **{"pessimism": "#3c4fa0", "hedge": "#00786c"},
    },
    "trained on rollouts": {
        **{"ppo": "#d1495b", "grpo": "#e08e45", "rloo": "#8c2d19", "online_dpo": "#e377c2"},
        **{"expert_iteration": "#b8860b"},
    },
    "trained on pairs": {"dpo": "#2ca02c", "ipo": "#9467bd", "slic": "#a3b018", "kto": "#145a32"},
}
GOLD_STYLE = (0, (5, 1, 1, 1))  # of a method that was told gold


class Entry(NamedTuple):
    """One method."""

    arm: Arm
    name: str  # in words
    turn: Turnover
    reach: float  # nats: the KL that all its replicates reach
    gold: tuple[float, float, float]  # at the common KL, with its 95 % interval; NaN beyond its reach


def make(runs: Sequence[Run]) -> FigureResult:
    """Gold against KL of every method on one reward model, the smallest of best-of-n's; what they lose at equal KL."""
    read = study(runs)
    best = next(iter(read.of(BEST_OF_N, MAIN)), None)
    if best is None:
        raise MissingRuns("no run of best-of-n is made, which the others are compared with")
    arms = [arm for arm in read.arms if arm.kind in (MAIN, PENALISED) and arm.rm == best.rm]
    limits = thresholds(NAME)
    ranked = ranking([arm for arm in arms if is_curve(arm)], limits["loses_most"]["least_kl"])
    entries = [_entry(arm, arms, ranked.reach) for arm in arms]
    curves = [entry for entry in entries if is_curve(entry.arm)]
    found = [_turns(entry, limits["gold_turns"]) for entry in curves]
    found += [_loses_more(entry, best, limits["loses_more"]) for entry in curves if entry.arm is not best]
    found += _loses_most(ranked, entries)
    table = points_table(Study(tuple(arms)))
    told = {(arm.method, arm.label) for arm in arms if arm.runs[0].uses_gold}
    table["uses_gold"] = [names in told for names in zip(table["method"], table["label"], strict=True)]
    fits = pd.DataFrame([row for entry in entries for row in _rows(entry, ranked)])
    return FigureResult(
        table,
        fits,
        found,
        draw(table, entries, ranked),
        [*_notes(entries, ranked), *checks.kl_bound_notes(read)],
    )


def _entry(arm: Arm, arms: Sequence[Arm], common: float) -> Entry:
    alone = sum(other.method == arm.method for other in arms) == 1
    words = arm.label.removeprefix(arm.rm).removeprefix(", ")
    name = title(arm.method) if alone or not words else f"{title(arm.method)}, {words}"
    found = turnover(arm.stacked("gold"), split(arm))
    return Entry(arm, name, found, reach(arm), gold_at(arm, common))


# --- claims -------------------------------------------------------------------------------------------------


def _about(entry: Entry, replicates: int) -> dict[str, Any]:
    """What the claims of one method have in common: all methods are rows of one printed table."""
    about = {"subject": f"method, {entry.name}", "replicates": replicates, "unit": GOLD_SDS}
    return about | {"conditional": conditional(replicates)}


def _turns(entry: Entry, rule: Any) -> Claim:
    return by_ses(
        f"{entry.name}: gold falls from its peak to the end",
        *(entry.turn.drop, entry.turn.se, rule, entry.arm.questions),
        topic="gold turns",
        **_about(entry, len(entry.arm.curves)),
    )


def _loses_more(entry: Entry, best: Arm, rule: Any) -> Claim:
    """Under both KLs of best-of-n; the one under which less more is lost is printed."""
    sides = [against(entry.arm, best, axis) for axis in ("tie-aware", "bound")]
    sentence = f"{entry.name}: loses more gold since its peak than best-of-n, at the largest KL both reach"
    about = _about(entry, min(len(entry.arm.curves), len(best.curves))) | {
        "topic": "loses more than best-of-n"
    }
    found = [
        by_ses(f"{sentence}, {side.kl:.3g}", side.more, side.se, rule, side.questions, **about)
        for side in sides
    ]
    states = [claim.met for claim in found]
    met = False if False in states else None if None in states else True
    near = min(side.kl for side in sides) < rule["least_kl"]
    least = min(found, key=lambda claim: claim.measured)
    words = f"{least.rule}; under both KLs of best-of-n; undecided below KL {rule['least_kl']:g}"
    return replace(least, met=None if near else met, rule=words)


def _loses_most(ranked: Ranking, entries: Sequence[Entry]) -> list[Claim]:
    if len(ranked.arms) < 2:
        return []
    name = {entry.arm.title: entry.name for entry in entries}[ranked.arms[ranked.worst].title]
    gap = ranked.gap()
    interval, count = percentile_interval(gap[1:]), min(len(arm.curves) for arm in ranked.arms)
    return [
        Claim(
            claim=f"{name} loses more gold since its peak than any other of {len(ranked.arms)} methods at KL "
            f"{ranked.reach:.3g} ({ranked.probability()[ranked.worst]:.0%} of bootstrap draws)",
            measured=float(gap[0]),
            interval=interval,
            threshold=0.0,
            n=ranked.questions,
            replicates=count,
            met=True if interval.lo > 0 else None,
            rule="met: the 95 % interval of its loss minus the next largest lies above 0; else undecided",
            unit=GOLD_SDS,
            subject="all methods",
            topic="loses most",
            conditional=conditional(count),
        )
    ]


# --- numbers ------------------------------------------------------------------------------------------------


def _rows(entry: Entry, ranked: Ranking) -> list[dict[str, Any]]:
    """Peak, drop, gold at the common KL, loss to it and how often it is the largest: of one method."""
    rows = observed_rows(entry.arm)
    about = {
        name: rows[0][name] for name in ("method", "rm", "arm", "label", "replicates", "n", "draws", "x")
    }
    half = 1.96 * entry.turn.se
    measured = {
        "drop from the peak to the end": (entry.turn.drop, entry.turn.drop - half, entry.turn.drop + half),
        f"gold at KL {ranked.reach:.3g}": entry.gold,
        "largest KL of all replicates": (entry.reach, np.nan, np.nan),
    }
    titles = [arm.title for arm in ranked.arms]
    if entry.arm.title in titles:
        place = titles.index(entry.arm.title)
        loss = ranked.losses["tie-aware"][:, place]
        lo, hi = percentile_interval(loss[1:])
        measured[f"loss since the peak at KL {ranked.reach:.3g}"] = (loss[0], lo, hi)
        measured["share of draws with the largest loss"] = (ranked.probability()[place], np.nan, np.nan)
    rows += [
        about | {"form": "observed", "parameter": name, "estimate": value, "lo": lo, "hi": hi}
        for name, (value, lo, hi) in measured.items()
    ]
    return rows


def _notes(entries: Sequence[Entry], ranked: Ranking) -> list[str]:
    """One line a method, the largest loss first; which are left out of the ranking, and why."""
    places = {arm.title: place for place, arm in enumerate(ranked.arms)}
    losses, probability = ranked.losses["tie-aware"][0], ranked.probability()
    ordered = sorted(
        (entry for entry in entries if entry.arm.title in places), key=lambda e: -losses[places[e.arm.title]]
    )
    found = [
        f"{entry.name}: loses {losses[places[entry.arm.title]]:+.2f} of its peak at KL {ranked.reach:.3g}, the most in "
        f"{probability[places[entry.arm.title]]:.0%} of draws; gold there {entry.gold[0]:+.2f} "
        f"[{entry.gold[1]:+.2f}, {entry.gold[2]:+.2f}]"
        for entry in ordered
    ]
    unranked = [entry for entry in entries if entry.arm.title not in places]
    left = [f"{entry.name} ({entry.reach:.2g})" for entry in unranked if is_curve(entry.arm)]
    if left:
        found.append(f"not ranked, as the KL that all their runs reach is too small: {', '.join(left)}")
    return found


# --- ink ----------------------------------------------------------------------------------------------------


def draw(table: pd.DataFrame, entries: Sequence[Entry], ranked: Ranking) -> Figure:
    """One panel: mean gold with 95 % bands and peaks, best-of-n's bound dotted; a legend a family."""
    figure, (panel,) = theme.panels(1, 4.6)
    figure.set_figwidth(theme.WIDTH)
    means = table[table["curve"] == "mean"]
    for entry in entries:
        rows = means[(means["method"] == entry.arm.method) & (means["label"] == entry.arm.label)]
        _draw_entry(panel, rows, entry)
    theme.square_root_nats(panel, means["kl"].max())
    panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    if len(ranked.arms) > 1:
        panel.axvline(ranked.reach, color="0.75", linewidth=0.6, linestyle=theme.DOTTED, zorder=0)
        panel.text(
            ranked.reach,
            1.0,
            " losses compared",
            transform=panel.get_xaxis_transform(),
            va="top",
            fontsize=6,
            color="0.4",
        )
    panel.set_xlabel(kl_axis(means["kl_estimator"]))
    panel.set_ylabel("gold (SDs on the initial policy)")
    _legends(figure, entries)
    return figure


def _draw_entry(panel: Axes, rows: pd.DataFrame, entry: Entry) -> None:
    colour = _colour(entry.arm.method)
    panel.fill_between(rows["kl"], rows["gold_lo"], rows["gold_hi"], color=colour, alpha=0.08, linewidth=0)
    panel.plot(rows["kl"], rows["gold"], color=colour, linewidth=_width(entry), linestyle=_style(entry))
    peak = rows.iloc[int(rows["gold"].to_numpy().argmax())]
    last = peak["n_or_step"] == rows["n_or_step"].iloc[-1]
    theme.mark(
        panel, peak["kl"], peak["gold"], colour, "D" if not is_curve(entry.arm) else ">" if last else "o"
    )
    if entry.arm.method == BEST_OF_N:
        panel.plot(rows["kl_bound"], rows["gold"], color=colour, linewidth=0.9, linestyle=theme.DOTTED)


def _legends(figure: Figure, entries: Sequence[Entry]) -> None:
    """Families side by side under the panel, each under its heading."""
    columns: list[list[Any]] = []
    placed: set[str] = set()
    for heading, colours in FAMILIES.items():
        own = [entry for entry in entries if entry.arm.method.partition(":")[0] in colours]
        placed |= {entry.arm.title for entry in own}
        columns.append([theme.key(heading, linewidth=0), *(_key(entry) for entry in own)] if own else [])
    columns[-1] += [_key(entry) for entry in entries if entry.arm.title not in placed]
    columns.append(
        [
            theme.key("marks", linewidth=0),
            theme.key("peak of gold", marker="o"),
            theme.key("peak at this KL or later", marker=">"),
            theme.key("one strength", marker="D"),
            theme.key("best-of-n, KL by the bound", linestyle=theme.DOTTED, linewidth=0.9),
            theme.key("was told gold of some questions", linestyle=GOLD_STYLE, linewidth=1.4),
        ]
    )
    filled = [column for column in columns if column]
    longest = max(len(column) for column in filled)
    handles = [
        key for column in filled for key in [*column, *[theme.key("", linewidth=0)] * (longest - len(column))]
    ]
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=len(filled), handlelength=2.2)
    for text in legend.get_texts():
        if text.get_text() in (*FAMILIES, "marks"):
            text.set_fontweight("bold")


def _key(entry: Entry) -> Any:
    return theme.key(entry.name, _colour(entry.arm.method), linewidth=_width(entry), linestyle=_style(entry))


def _colour(method: str) -> str:
    """HedgeTune's methods are called hedge:RULE:QUESTIONS."""
    known = {name: colour for colours in FAMILIES.values() for name, colour in colours.items()}
    return known.get(method.partition(":")[0], "0.55")


def _style(entry: Entry) -> Any:
    return GOLD_STYLE if entry.arm.runs[0].uses_gold else "-"


def _width(entry: Entry) -> float:
    return 2.2 if entry.arm.method == BEST_OF_N else 1.3
