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
from matplotlib.typing import LineStyleType
from numpy.typing import NDArray

from analysis.best_of_n.curves import Curves, kl_axis
from analysis.best_of_n.hedge_tune import Tuned
from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import BEST_OF_N, Arm, Study, study, title
from analysis.runs.gold_lost import split
from analysis.runs.naming import GOLD_SDS, HEDGED
from analysis.runs.tables import points_table
from analysis.statistics.claims import ClaimTable
from analysis.statistics.turnover import turnover
from analysis.worlds.hedge_tune import CURVE, ROOT, toy, w2_best_of_n
from rlhf_lab.functional.divergence import best_of_n_bound
from rlhf_lab.functional.intervals import Estimate
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
LARGEST, BEST = "largest n", "best in hindsight"  # choices of n
HEDGETUNE, EXACT_FORM = "HedgeTune", "closed form"
MARKS = {LARGEST: ("s", 4.0), BEST: ("o", 8.0), HEDGETUNE: ("*", 8.5), EXACT_FORM: ("+", 5.0)}  # marker, size
HEIGHT = 5.8  # inches
NARROW_GAP = 0.13  # between labels of KL, as a share of an axis this narrow
D_POINTS = 20  # at which curves are compared at equal KL

Floats = NDArray[np.float64]


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw every curve on the questions whose gold no run of HedgeTune looked at."""
    data = on_unseen(study(runs))
    claims = ClaimTable(NAME, GOLD_SDS)
    make_claims(claims, data)
    table, chosen = pd.concat([points_table(data), toy()], ignore_index=True), choices_table(data)
    notes = [
        f"evaluated on the {data.arms[0].questions} questions whose gold no run of HedgeTune looked at",
        *checks.run_notes(data),
    ]
    return FigureResult(table, chosen, claims, draw(table, chosen), notes)


def on_unseen(data: Study) -> Study:
    """Return the study on the questions that every run of HedgeTune is evaluated on."""
    hedged = [curves for arm in data.arms if arm.method.startswith(HEDGED) for curves in arm.curves]
    if not hedged or BEST_OF_N not in data.methods:
        raise MissingRuns("hedging needs runs of best-of-n and of HedgeTune")
    questions = reduce(np.intersect1d, [curves.questions for curves in hedged])
    arms = (replace(arm, curves=tuple(curves.on(questions) for curves in arm.curves)) for arm in data.arms)
    return Study(tuple(arms))


# --- claims -------------------------------------------------------------------------------------------------


def make_claims(claims: ClaimTable, data: Study) -> None:
    """Claim what each method gains over best-of-n of the same reward models and tables of answers."""
    best_of_n = {same_runs(arm): arm for arm in data.of(BEST_OF_N)}
    for arm in data.arms:
        plain = best_of_n.get(same_runs(arm))
        if plain is not None and arm is not plain:
            claim_against(claims, arm, plain)


def same_runs(arm: Arm) -> tuple[str, int, int, tuple[str, ...]]:
    """Return what arms of different methods share if they have the same reward models and tables of answers."""
    return arm.reward, arm.settings["prompts"], arm.settings["samples"], arm.seeds


def claim_against(claims: ClaimTable, arm: Arm, plain: Arm) -> None:
    """Claim what is expected of one arm's method against best-of-n; differences are paired by question."""
    gold, gold_plain = arm.stacked("gold"), plain.stacked("gold")  # (R, C, K)
    n = arm.questions
    if arm.method.startswith(HEDGED):
        gain, regret = gold[:, :, -1] - gold_plain[:, :, -1], hindsight(plain) - gold[:, :, -1]
        sentence = "more gold than best-of-n at the largest n, on questions whose gold HedgeTune did not see"
        claims.above(
            "beats_largest_n", arm.title, sentence, Estimate.of_questions(gain), n, "beats largest n"
        )
        sentence = "as much gold as best-of-n at its best n in hindsight"
        claims.equivalent("regret", arm.title, sentence, Estimate.of_questions(regret), n, "regret")
    elif arm.method == "best_of_poisson":
        difference = Estimate.of_questions(equal_kl_difference(arm, plain))
        sentence = "as much gold as best-of-n at equal KL"
        claims.equivalent("poisson_equals", arm.title, sentence, difference, n, "equals best-of-n at its KL")
    elif arm.method == "pessimism":
        half = split(arm)
        saved = turnover(gold_plain, half).falls - turnover(gold, half).falls
        sentence = "loses less gold than best-of-n from its peak to the largest n"
        claims.above(
            "pessimism_falls_less", arm.title, sentence, Estimate.of_questions(saved), n, "falls less"
        )
    elif arm.method == "mbr_bon":
        gain = gold[:, :, -1] - hindsight(plain)
        sentence = "more gold at the largest n than best-of-n at its best n in hindsight"
        claims.above(
            "likeness_helps", arm.title, sentence, Estimate.of_questions(gain), n, "beats best-of-n's best"
        )


def hindsight(arm: Arm) -> Floats:
    """Return (R, C), gold of each question at the peak that the other half of the questions chooses."""
    gold = arm.stacked("gold")
    peak = turnover(gold, half := split(arm)).place(half)
    return np.take_along_axis(gold, peak[:, :, None], axis=2)[:, :, 0]


def equal_kl_difference(arm: Arm, other: Arm) -> Floats:
    """Return (R, C), gold of `arm` minus gold of `other`, averaged over d up to where both estimates of KL are good.

    Gold is linear in d between points.
    """
    differences = []
    for first, second in zip(arm.curves, other.curves, strict=True):
        ends = [curves.normalised().d[curves.kl_good].max() for curves in (first, second)]
        at = np.linspace(0, min(ends), D_POINTS + 1)[1:]
        differences.append(gold_at(first, at) - gold_at(second, at))
    return np.stack(differences).mean(axis=2)


def gold_at(curves: Curves, at: Floats) -> Floats:
    """Return (C, D), gold of each question where the mean over questions is at d `at` (D,)."""
    d, values = curves.normalised().d, curves.by_question("gold")
    after = np.searchsorted(d, at).clip(1, len(d) - 1)
    share = (at - d[after - 1]) / (d[after] - d[after - 1])
    return values[:, after - 1] * (1 - share) + values[:, after] * share


# --- tables -------------------------------------------------------------------------------------------------


def choices_table(data: Study) -> pd.DataFrame:
    """Return the gold above the initial policy, with its 95 % interval, that each choice of a strength comes to.

    There is a row for each arm of HedgeTune, and two for best-of-n with each reward model: its largest n, and its best
    n in hindsight.
    """
    rows: list[dict[str, Any]] = []
    for arm in data.arms:
        gold, points = arm.stacked("gold"), arm.curves[0].points
        start = gold[:, :, 0]
        if arm.method == BEST_OF_N:
            peaks = points[turnover(gold, split(arm)).at.ravel()]
            rows.append(choice_row(arm, LARGEST, gold[:, :, -1] - start, [float(points[-1])]))
            rows.append(choice_row(arm, BEST, hindsight(arm) - start, [float(n) for n in peaks]))
        elif arm.method.startswith(HEDGED):
            choices = [curves.choice for curves in arm.curves if isinstance(curves, Tuned)]
            row = choice_row(arm, HEDGETUNE, gold[:, :, -1] - start, [choice.strength for choice in choices])
            if ends := sum(not choice.root for choice in choices):
                row["note"] += f"; no root in {ends} of {len(choices)} runs: an end of the range"
            rows.append(row)
    return pd.DataFrame(rows)


def choice_row(arm: Arm, form: str, gains: Floats, strengths: Sequence[float]) -> dict[str, Any]:
    """Return the row of one choice: its gold gained (R, C) and the strengths that were chosen."""
    gain = Estimate.of_questions(gains)
    lo, hi = gain.interval()
    return {
        "method": arm.method,
        "rm": arm.rm,
        "label": arm.label,
        "form": form,
        "parameter": "gold",
        "estimate": gain.value,
        "lo": lo,
        "hi": hi,
        "strength": float(np.median(strengths)),
        "strength_lo": min(strengths),
        "strength_hi": max(strengths),
        "n": gains.shape[1],
        "replicates": len(gains),
        "note": gain.note,
    }


# --- drawing ------------------------------------------------------------------------------------------------


def draw(table: pd.DataFrame, chosen: pd.DataFrame) -> Figure:
    """Draw a panel for each reward model above; below, an exactly solved toy and the gold of each choice of n."""
    figure = theme.blank(theme.WIDTH, HEIGHT)
    rms = list(dict.fromkeys(table.loc[table["method"] == BEST_OF_N, "rm"].dropna()))
    rows = figure.add_gridspec(2, 1, height_ratios=(1.35, 1))
    panels = panels_with_one_y_axis(figure, rows[0].subgridspec(1, len(rms)))
    mean = table[table["curve"] == "mean"]
    reach = mean.loc[~mean["method"].str.startswith(HEDGED), "kl"].max()
    for panel, rm, letter in zip(panels, rms, "abcdefgh", strict=False):
        draw_rules(panel, mean[mean["rm"] == rm], chosen[chosen["rm"] == rm])
        theme.square_root_nats(panel, reach, gap=NARROW_GAP)
        name_panel(panel, f"{letter}  RM {rm}")
    panels[0].set_ylabel("gold (SDs on the initial policy)")
    panels[len(panels) // 2].set_xlabel(kl_axis(mean["kl_estimator"]))
    below = rows[1].subgridspec(1, 2)
    left, right = figure.add_subplot(below[0]), figure.add_subplot(below[1])
    draw_toy(left, table)
    name_panel(left, f"{'abcdefgh'[len(rms)]}  exact toy")
    draw_choices(right, chosen, rms)
    name_panel(right, f"{'abcdefgh'[len(rms) + 1]}  gold of best-of-n, by who chose n")
    plot.legend(figure, list(legend_handles(table)))
    return figure


def panels_with_one_y_axis(figure: Figure, grid: GridSpecFromSubplotSpec) -> list[Axes]:
    """Return the panels of a row, which share one y-axis."""
    first = figure.add_subplot(grid[0])
    others = [figure.add_subplot(grid[place], sharey=first) for place in range(1, grid.ncols)]
    for other in others:
        other.tick_params(labelleft=False)
    return [first, *others]


def name_panel(panel: Axes, text: str) -> None:
    """Write the panel's name above it, on the left."""
    panel.set_title(text, loc="left", fontsize=8, weight="bold", pad=4)


def look_of(method: str) -> tuple[str, LineStyleType]:
    """Return the colour and line style of a method, or of the rule that HedgeTune tunes."""
    rule = method.removeprefix(HEDGED).rpartition(":")[0] if method.startswith(HEDGED) else method
    return LOOKS.get(rule, ("0.5", "-"))


def questions_seen(method: str) -> int:
    """Return how many questions a method of HedgeTune saw gold of."""
    return int(method.rpartition(":")[2])


def best_informed(methods: Iterable[str]) -> list[str]:
    """Return the methods of HedgeTune that saw gold of the most questions."""
    hedged = [method for method in dict.fromkeys(methods) if method.startswith(HEDGED)]
    return [method for method in hedged if questions_seen(method) == max(map(questions_seen, hedged))]


def draw_rules(panel: Axes, mean: pd.DataFrame, chosen: pd.DataFrame) -> None:
    """Draw the mean curve of every rule of selection, and mark the choices of its strength."""
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
        mark(panel, kl, gold, row["form"], LOOKS[BEST_OF_N][0])
    for method in best_informed(mean["method"]):
        end = mean[mean["method"] == method].iloc[-1]
        mark(panel, end["kl"], end["gold"], HEDGETUNE, look_of(method)[0])


def mark(panel: Axes, x: float, y: float, form: str, colour: str) -> None:
    """Mark a choice of strength."""
    panel.plot(x, y, linestyle="none", zorder=4 if form == BEST else 5, **marker_of(form, colour))


def marker_of(form: str, colour: str) -> dict[str, Any]:
    """Return how a form of choice is marked."""
    marker, size = MARKS[form]
    return {
        "marker": marker,
        "markersize": size,
        "markerfacecolor": "none" if form == BEST else colour,
        "markeredgecolor": "white" if form == HEDGETUNE else colour,
        "markeredgewidth": 0.5 if form == HEDGETUNE else 0.9,
    }


def draw_toy(panel: Axes, table: pd.DataFrame) -> None:
    """Draw the toy: lines through the computed points, and crosses for the closed form of best-of-n."""
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
        mark(panel, x, y, EXACT_FORM, colour)
    mark(panel, kl[-1], gold[-1], LARGEST, colour)
    panel.annotate(
        f"n = {n[-1]}", (kl[-1], gold[-1]), (-8, -2), textcoords="offset points", fontsize=6.5, ha="right"
    )
    for _, root in table[table["curve"] == ROOT].iterrows():
        mark(panel, root["kl"], root["gold"], HEDGETUNE, LOOKS[root["method"]][0])
        if root["method"] == BEST_OF_N:
            words, where = f"n = {root['strength']:.2f}", (root["kl"], root["gold"])
            panel.annotate(words, where, (0, 6), textcoords="offset points", fontsize=6.5, ha="center")
    panel.set_ylim(top=0.75)
    theme.square_root_nats(panel, curves["kl"].max())
    panel.set_xlabel("KL (nats): exact")
    panel.set_ylabel("expected gold")


def draw_choices(panel: Axes, chosen: pd.DataFrame, rms: Sequence[str]) -> None:
    """Draw the gold of best-of-n by who chose n, with 95 % intervals, for each reward model; the numbers are n."""
    panel.axhline(0, color="0.85", linewidth=0.6, zorder=0)
    colour = LOOKS[BEST_OF_N][0]
    ticks: dict[float, str] = {}
    for place, rm in enumerate(rms):
        choices = choices_of_n(chosen[chosen["rm"] == rm])
        across = place + np.linspace(-0.36, 0.36, len(choices))
        for x, (words, row) in zip(across, choices, strict=True):
            ticks[float(x)] = words
            panel.plot([x, x], [row["lo"], row["hi"]], color=colour, linewidth=0.9)
            mark(panel, x, row["estimate"], row["form"], colour)
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


def choices_of_n(chosen: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    """Return who chose n and the row of it: the proxy alone, HedgeTune from few questions to many, hindsight."""
    rows = [row for _, row in chosen.iterrows()]
    hedged = [row for row in rows if row["method"].startswith(f"{HEDGED}{BEST_OF_N}:")]
    hedged.sort(key=lambda row: questions_seen(row["method"]))
    first = [("proxy alone", row) for row in rows if row["form"] == LARGEST]
    last = [("hindsight", row) for row in rows if row["form"] == BEST]
    return [*first, *((f"{questions_seen(row['method'])} questions", row) for row in hedged), *last]


def legend_handles(table: pd.DataFrame) -> Iterator[Line2D]:
    """Yield the entries of the legend: the rules that are drawn, then the marks."""
    for method in [method for method in LOOKS if method in set(table["method"])]:
        colour, style = LOOKS[method]
        yield Line2D([], [], color=colour, linestyle=style, linewidth=1.5, label=title(method))
    for form, words in (
        (LARGEST, "largest n: the proxy alone"),
        (BEST, "best in hindsight"),
        (HEDGETUNE, "HedgeTune (uses gold)"),
        (EXACT_FORM, "closed form"),
    ):
        yield Line2D([], [], linestyle="none", label=words, **marker_of(form, "0.2"))
