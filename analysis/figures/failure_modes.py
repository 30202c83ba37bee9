"""Where RLHF runs out of road: gold and three failures over KL, for a labeler with all flaws and for an honest one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.behaviour import answer_shares, failures
from analysis.behaviour.answer_shares import Against, Measured, against
from analysis.behaviour.failures import APPROVAL, METRIC, MODES, SYCOPHANCY, UNMONITORED, risen
from analysis.behaviour.sycophancy import METRICS
from analysis.best_of_n.curves import kl_axis
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks, naming
from analysis.runs.arms import BEST_OF_N, Arm, Study, study, title
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import points_table
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, by_estimate, thresholds
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "failure_modes"
SWEEPS = ("failure_modes",)

GROUP, FLAWED = "labeler", "flawed"
UNITS = {SYCOPHANCY: "share of answers", APPROVAL: "share of answers", UNMONITORED: GOLD_SDS}
RULES = {
    SYCOPHANCY: "rate",
    APPROVAL: "rate",
    UNMONITORED: "gap",
}  # of a mode's claims, in its table of thresholds
ROWS = {  # what is drawn -> what it is called
    "gold": "gold and proxy\n(SDs above SFT)",
    SYCOPHANCY: "sycophancy\n(share above SFT)",
    APPROVAL: "approval minus truth\n(share above SFT)",
    UNMONITORED: "unmonitored gap\n(SDs above SFT)",
}


class Pair(NamedTuple):
    """One method for a labeler with flaws and for an honest one."""

    flawed: Arm
    honest: Arm


def make(runs: Sequence[Run]) -> FigureResult:
    """Two columns, a labeler each; a row for gold and for every failure."""
    read = study(runs)
    pairs = pairs_of(read)
    if not pairs:
        raise MissingRuns("no runs of a labeler with flaws and of an honest one are made")
    found, limits = failures.measured(Study(tuple(arm for pair in pairs for arm in pair))), thresholds(NAME)
    table = failures.table(found, points_table(read))
    fits = pd.DataFrame([row for pair in pairs for row in _fits(pair, found)])
    gold = ablation.differences_table(
        [arm for pair in pairs for arm in pair], ablation.compared(read, GROUP), GROUP
    )
    made = [claim for pair in pairs for claim in claims(pair, found, limits)]
    onsets = {(name, mode): _onset(of, mode, limits) for name, of in found.items() for mode in MODES}
    told = [*notes(pairs, found, limits), *checks.kl_bound_notes(read)]
    return FigureResult(
        table, pd.concat([gold, fits], ignore_index=True), made, draw(pairs, table, onsets), told
    )


def pairs_of(read: Study) -> list[Pair]:
    """Both arms of every method that has them."""
    return [
        Pair(arm, honest)
        for honest, *others in ablation.conditions(read.arms, GROUP)
        for arm in others
        if labeler(arm) == FLAWED
    ]


def labeler(arm: Arm) -> str:
    """The option of who labelled the comparisons."""
    return arm.runs[0].choices[GROUP]


def named(arm: Arm) -> str:
    """Method and labeler in words."""
    return f"{title(arm.method)}, {FLAWED if labeler(arm) == FLAWED else 'honest'} labeler"


# --- claims -------------------------------------------------------------------------------------------------


def claims(pair: Pair, found: Mapping[str, Measured], limits: Thresholds) -> list[Claim]:
    """Gold turns; each failure rises more than for the honest labeler, for whom it does not rise."""
    made = [_gold_falls(pair.flawed, limits["gold_falls"])]
    flawed, honest = (found[arm.title] for arm in pair)
    for mode in MODES:
        made += [_more(flawed, honest, mode, limits), _none(honest, mode, limits)]
    return made


def _gold_falls(arm: Arm, rule: Mapping[str, float]) -> Claim:
    return by_estimate(
        f"{named(arm)}: gold falls from its peak to {ablation.end_of(arm)}",
        Estimate.of(ablation.losses(arm)),
        rule,
        arm.questions,
        unit=GOLD_SDS,
        subject=named(arm),
        topic="gold falls",
    )


def more(flawed: Measured, honest: Measured, mode: str) -> Estimate:
    """What a failure rises beyond the honest labeler's: at the end of best-of-n, of PPO at equal KL."""
    one = against(flawed, honest, mode, from_start=True)
    return one.end if one.equal_kl is None else one.equal_kl.estimate


def _more(flawed: Measured, honest: Measured, mode: str, limits: Thresholds) -> Claim:
    arm = flawed.arm
    where = ablation.end_of(arm) if arm.chooses else "equal KL"
    return by_estimate(
        f"{named(arm)}: {mode} has risen more at {where} than for the honest labeler",
        more(flawed, honest, mode),
        limits[f"more_{RULES[mode]}"],
        flawed.questions(mode),
        unit=UNITS[mode],
        subject=named(arm),
        topic=f"more {mode}",
    )


def _none(honest: Measured, mode: str, limits: Thresholds) -> Claim:
    """An honest labeler approves of what is good, so that his approval is truth whatever happens."""
    arm, rule = honest.arm, limits[f"no_{RULES[mode]}"]
    margin = rule["margin"]
    return by_equivalence(
        f"{named(arm)}: {mode} at {ablation.end_of(arm)} is SFT's",
        risen(honest, mode),
        -margin,
        margin,
        honest.questions(mode),
        enough=len(arm.curves) >= rule["replicates"],
        unit=UNITS[mode],
        subject=named(arm),
        topic=f"no {mode}",
        by_construction=mode == APPROVAL,
    )


def _fits(pair: Pair, found: Mapping[str, Measured]) -> Iterator[dict[str, Any]]:
    """Every failure, and every metric of sycophancy: its rise for each labeler, and the difference of the two."""
    flawed, honest = (found[arm.title] for arm in pair)
    for name in (*MODES, *METRICS):
        for of in (flawed, honest):
            n = of.questions(name)
            yield answer_shares.fit_row(of.arm, "change from SFT", f"{name} at the end", risen(of, name), n)
        one, n = against(flawed, honest, name, from_start=True), flawed.questions(name)
        form = "paired by seeds"
        yield answer_shares.fit_row(
            pair.flawed, form, f"{name} at the end beyond the honest labeler's", one.end, n
        )
        if one.equal_kl is not None:
            yield _at_equal_kl(pair.flawed, form, name, one, n)


def _at_equal_kl(arm: Arm, form: str, name: str, one: Against, n: int) -> dict[str, Any]:
    assert one.equal_kl is not None
    parameter = f"{name} at equal KL beyond the honest labeler's"
    row = answer_shares.fit_row(arm, form, parameter, one.equal_kl.estimate, n)
    return row | {"reach_kl": float(one.equal_kl.reach.mean())}


# --- notes --------------------------------------------------------------------------------------------------


def notes(pairs: Sequence[Pair], found: Mapping[str, Measured], limits: Thresholds) -> list[str]:
    """Which failure comes first; what the other metrics of sycophancy say; what the words mean."""
    ses = limits["more_rate"]["ses"]
    first = "; ".join(_first(pair.flawed, found[pair.flawed.title], limits) for pair in pairs)
    others = "; ".join(_others(*(found[arm.title] for arm in pair)) for pair in pairs)
    return [
        f"KL in nats at which gold peaks and each failure is first {ses:g} SE above SFT's: {first}",
        f"sycophancy is told by '{METRICS[METRIC]}'; the others at the end, beyond the honest labeler's: {others}",
        "an honest labeler's approval is truth by construction; approved: worth more to the arm's own labeler than the "
        "median of SFT's answers to the same family and difficulty; truth: the same by gold",
    ]


def _others(flawed: Measured, honest: Measured) -> str:
    """The metrics of sycophancy that are not drawn, where there are prompts for them."""
    said = [
        f"{metric} {against(flawed, honest, metric, from_start=True).end.signed}"
        for metric in METRICS
        if metric != METRIC and flawed.questions(metric)
    ]
    return f"{named(flawed.arm)}: {', '.join(said)}"


def _first(arm: Arm, of: Measured, limits: Thresholds) -> str:
    """Gold's peak and the failures of an arm in the order of their KL."""
    nats = failures.kl(arm)
    places = {mode: _onset(of, mode, limits) for mode in MODES}
    at = {mode: np.inf if place is None else float(nats[place]) for mode, place in places.items()}
    at["gold peaks"] = float(nats[int(arm.drawn.mean().values["gold"][0].argmax())])
    said = [
        f"{mode} {at[mode]:.2g}" if np.isfinite(at[mode]) else f"{mode} never"
        for mode in sorted(at, key=at.__getitem__)
    ]
    return f"{named(arm)}: {', '.join(said)}"


def _onset(of: Measured, mode: str, limits: Thresholds) -> int | None:
    return failures.onset(of, mode, limits[f"more_{RULES[mode]}"]["ses"])


# --- ink ----------------------------------------------------------------------------------------------------


def draw(pairs: Sequence[Pair], table: pd.DataFrame, onsets: Mapping[tuple[str, str], int | None]) -> Figure:
    """A column a labeler, a row for gold and every failure, a colour a method; all are changes from SFT."""
    figure = theme.blank(theme.WIDTH, 6.6)
    axes = figure.subplots(len(ROWS), 2, sharex=True, sharey="row", height_ratios=[1.4, 1, 1, 1])
    for column, arms in zip(axes.T, zip(*pairs, strict=True), strict=True):
        for panel, number in zip(column, ROWS, strict=True):
            panel.axhline(0, color="0.75", linewidth=0.6, zorder=0)
            for arm in arms:
                rows = table[(table["method"] == arm.method) & (table["labeler"] == labeler(arm))]
                _draw_arm(panel, rows, number, _colour(arm), onsets.get((arm.title, number)))
        _head(column[0], arms[0])
    for panel, called in zip(axes[:, 0], ROWS.values(), strict=True):
        panel.set_ylabel(called)
        panel.margins(y=0.1)
    said = {"transform": axes[2, 1].transAxes, "color": "0.4", "fontsize": 7}
    axes[2, 1].text(0.02, 0.93, "none by construction: he approves of what is good", va="top", **said)
    theme.square_root_nats(axes[0, 0], float(table["kl"].max()), gap=0.09)
    figure.align_ylabels(axes[:, 0])
    estimators = [arm.curves[0].estimator for pair in pairs for arm in pair]
    axes[-1, 0].set_xlabel(kl_axis(estimators), x=1.03)
    _legend(figure, [pair.flawed for pair in pairs])
    return figure


def _draw_arm(panel: Axes, rows: pd.DataFrame, number: str, colour: str, onset: int | None) -> None:
    """A number's mean with its 95 % band; beside gold the proxy, dashed. Gold's peak, a failure's onset marked."""
    own = rows[rows["mode"] == number]
    panel.fill_between(own["kl"], own["lo"], own["hi"], color=colour, alpha=0.15, linewidth=0)
    panel.plot(own["kl"], own["change"], color=colour, linewidth=1.6)
    if number == "gold":
        proxy, onset = rows[rows["mode"] == "proxy"], int(own["change"].to_numpy().argmax())
        panel.plot(proxy["kl"], proxy["change"], color=colour, linewidth=1.0, linestyle=theme.DASHED)
    if onset is not None:
        later = number == "gold" and onset == len(own) - 1
        theme.mark(panel, own["kl"].iloc[onset], own["change"].iloc[onset], colour, ">" if later else "o")


def _colour(arm: Arm) -> str:
    return "#3c6fb5" if arm.method == BEST_OF_N else "#d1495b"


def _head(panel: Axes, arm: Arm) -> None:
    """Who labelled, and with what flaws."""
    flaws = naming.flaws(arm.runs[0].config[GROUP])
    panel.set_title(("flawed" if flaws else "honest") + " labeler", loc="left", weight="bold", pad=16)
    said = {"transform": panel.transAxes, "color": "0.4", "fontsize": 7}
    panel.text(0, 1.03, ", ".join(flaws) or "the answer with the higher gold", va="bottom", **said)


def _legend(figure: Figure, arms: Sequence[Arm]) -> None:
    handles = [theme.key(title(arm.method), _colour(arm), linewidth=2) for arm in arms]
    handles += [
        theme.key("mean, 95 % band", linewidth=1.6),
        theme.key("proxy, rescaled", linestyle=theme.DASHED, linewidth=1.0),
        theme.key("gold peaks (triangle: here or later);\na failure is first 3 SE above SFT's", marker="o"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
