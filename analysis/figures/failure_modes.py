"""Where RLHF runs out of road: gold and three failures over KL, for a labeler with all flaws and for an honest one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from analysis import consistency, failures, sycophancy, versus
from analysis.arms import BEST_OF_N, Arm, Study, study, title
from analysis.claims import Claim, Thresholds, by_equivalence, by_estimate, thresholds
from analysis.failures import APPROVAL, METRIC, MODES, SYCOPHANCY, UNMONITORED, risen
from analysis.labels import plain
from analysis.overoptimization import GOLD_SDS
from analysis.plate import Plate
from analysis.resampling import Estimate
from analysis.sycophancy import METRICS, Against, Measured, against, ranged
from analysis.tables import points_table
from rlhf_lab.records import MissingRuns, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "failure_modes"
SWEEPS = ("failure_modes",)

GROUP, FLAWED = "labeler", "flawed"
UNITS = {SYCOPHANCY: "share of answers", APPROVAL: "share of answers", UNMONITORED: GOLD_SDS}
RULES = {SYCOPHANCY: "rate", APPROVAL: "rate", UNMONITORED: "gap"}  # of a mode's claims, in claims.toml
ROWS = {  # what is drawn -> what it is called
    "gold": "gold and proxy (SDs)",
    SYCOPHANCY: "sycophancy\n(share)",
    APPROVAL: "approval minus\ntruth (share)",
    UNMONITORED: "unmonitored\ngap (SDs)",
}


class Pair(NamedTuple):
    """One method for a labeler with flaws and for an honest one."""

    flawed: Arm
    honest: Arm


def make(runs: Sequence[Run]) -> Plate:
    """Two columns, a labeler each; a row for gold and for every failure."""
    read = study(runs)
    pairs = pairs_of(read)
    if not pairs:
        raise MissingRuns("no runs of a labeler with flaws and of an honest one are made")
    found, limits = failures.measured(Study(tuple(arm for pair in pairs for arm in pair))), thresholds(NAME)
    table = failures.table(found, points_table(read))
    fits = pd.DataFrame([row for pair in pairs for row in _fits(pair, found)])
    gold = versus.differences_table([arm for pair in pairs for arm in pair], versus.compared(read, GROUP), GROUP)
    made = [claim for pair in pairs for claim in claims(pair, found, limits)]
    told = [*notes(pairs, found, limits), *consistency.notes(read)]
    return Plate(table, pd.concat([gold, fits], ignore_index=True), made, draw(pairs, table), told)


def pairs_of(read: Study) -> list[Pair]:
    """Both arms of every method that has them."""
    return [
        Pair(arm, honest)
        for honest, *others in versus.conditions(read.arms, GROUP)
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
        f"{named(arm)}: gold falls from its peak to {versus.end_of(arm)}",
        *(Estimate.of(versus.losses(arm)), rule, arm.questions),
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
    where = versus.end_of(arm) if arm.chooses else "equal KL"
    return by_estimate(
        f"{named(arm)}: {mode} has risen more at {where} than for the honest labeler",
        *(more(flawed, honest, mode), limits[f"more_{RULES[mode]}"], flawed.questions(mode)),
        unit=UNITS[mode],
        subject=named(arm),
        topic=f"more {mode}",
    )


def _none(honest: Measured, mode: str, limits: Thresholds) -> Claim:
    """An honest labeler approves of what is good, so that his approval is truth whatever happens."""
    arm, rule = honest.arm, limits[f"no_{RULES[mode]}"]
    margin = rule["margin"]
    return by_equivalence(
        f"{named(arm)}: {mode} at {versus.end_of(arm)} is SFT's",
        *(risen(honest, mode), -margin, margin, honest.questions(mode)),
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
            yield sycophancy.fit(of.arm, "change from SFT", f"{name} at the end", risen(of, name), n)
        one, n = against(flawed, honest, name, from_start=True), flawed.questions(name)
        form = "paired by seeds"
        yield sycophancy.fit(pair.flawed, form, f"{name} at the end beyond the honest labeler's", one.end, n)
        if one.equal_kl is not None:
            yield _at_equal_kl(pair.flawed, form, name, one, n)


def _at_equal_kl(arm: Arm, form: str, name: str, one: Against, n: int) -> dict[str, Any]:
    assert one.equal_kl is not None
    parameter = f"{name} at equal KL beyond the honest labeler's"
    row = sycophancy.fit(arm, form, parameter, one.equal_kl.estimate, n)
    return row | {"reach_kl": float(one.equal_kl.reach.mean())}


# --- notes --------------------------------------------------------------------------------------------------


def notes(pairs: Sequence[Pair], found: Mapping[str, Measured], limits: Thresholds) -> list[str]:
    """Which failure comes first; what the other metrics of sycophancy say; what the words mean."""
    first = "; ".join(_first(pair.flawed, found, limits) for pair in pairs)
    others = "; ".join(
        f"{named(pair.flawed)}: "
        + ", ".join(
            f"{metric} {ranged(against(*(found[arm.title] for arm in pair), metric, from_start=True).end)}"
            for metric in METRICS
            if metric != METRIC
        )
        for pair in pairs
    )
    return [
        f"KL in nats at which gold peaks and each failure is first {limits['more_rate']['ses']:g} SE above SFT's: {first}",
        f"sycophancy is told by '{METRICS[METRIC]}'; the others at the end, beyond the honest labeler's: {others}",
        "an honest labeler's approval is truth by construction; approved: worth more to the arm's own labeler than the "
        "median of SFT's answers to the same family and difficulty; truth: the same by gold",
    ]


def _first(arm: Arm, found: Mapping[str, Measured], limits: Thresholds) -> str:
    """The modes of an arm in the order of their KL."""
    nats, of = failures.kl(arm), found[arm.title]
    peak = int(arm.drawn.mean().values["gold"][0].argmax())
    at = {"gold peaks": float(nats[peak])}
    for mode in MODES:
        point = failures.onset(of, mode, limits[f"more_{RULES[mode]}"]["ses"])
        at[mode] = float("inf") if point is None else float(nats[point])
    said = [f"{mode} {place:.2g}" if np.isfinite(place) else f"{mode} never" for mode, place in _sorted(at)]
    return f"{named(arm)}: {', '.join(said)}"


def _sorted(at: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(at.items(), key=lambda item: item[1])


# --- ink ----------------------------------------------------------------------------------------------------


def draw(pairs: Sequence[Pair], table: pd.DataFrame) -> Figure:
    """A column a labeler, a row for gold and every failure, a colour a method; all are changes from SFT."""
    from analysis import theme

    figure = theme.blank(theme.WIDTH, 6.4)
    axes = figure.subplots(len(ROWS), 2, sharex=True, sharey="row", height_ratios=[1.35, 1, 1, 1])
    for column, arms in zip(axes.T, zip(*pairs, strict=True), strict=True):
        for panel, number in zip(column, ROWS, strict=True):
            for arm in arms:
                _draw_arm(panel, table[_rows_of(table, arm)], number, _colour(arm))
            panel.axhline(0, color="0.75", linewidth=0.6, zorder=0)
        column[0].set_title(_heading(arms[0]), loc="left")
        column[-1].set_xlabel("KL from SFT (nats)")
    theme.square_root_nats(axes[0, 0], float(table["kl"].max()), gap=0.09)
    for panel, called in zip(axes[:, 0], ROWS.values(), strict=True):
        panel.set_ylabel(called)
    figure.align_ylabels(axes[:, 0])
    _label_lines(axes[0, 0], table, [pair.flawed for pair in pairs])
    return figure


def _rows_of(table: pd.DataFrame, arm: Arm) -> pd.Series:
    return (table["method"] == arm.method) & (table["labeler"] == labeler(arm))


def _draw_arm(panel: Axes, rows: pd.DataFrame, number: str, colour: str) -> None:
    """A number's mean with its 95 % band; beside gold the proxy, dashed, and gold's peak."""
    from analysis import theme

    own = rows[rows["mode"] == number]
    panel.fill_between(own["kl"], own["lo"], own["hi"], color=colour, alpha=0.16, linewidth=0)
    panel.plot(own["kl"], own["change"], color=colour, linewidth=1.6)
    if number != "gold":
        return
    proxy, peak = rows[rows["mode"] == "proxy"], own.iloc[int(own["change"].to_numpy().argmax())]
    panel.plot(proxy["kl"], proxy["change"], color=colour, linewidth=1.0, linestyle=theme.DASHED)
    last = peak["n_or_step"] == own["n_or_step"].iloc[-1]
    theme.mark(panel, peak["kl"], peak["change"], colour, ">" if last else "o")


def _colour(arm: Arm) -> str:
    return "#3c6fb5" if arm.method == BEST_OF_N else "#d1495b"


def _heading(arm: Arm) -> str:
    """Who labelled, and with what flaws."""
    if labeler(arm) != FLAWED:
        return "honest labeler: gold"
    flaws = arm.runs[0].config[GROUP]["flaws"]
    doses = {name: next((of[dose] for dose in ("bonus", "competence") if dose in of), "") for name, of in flaws.items()}
    return "flawed labeler: " + ", ".join(f"{name} {plain(dose)}" for name, dose in doses.items())


def _label_lines(panel: Axes, table: pd.DataFrame, arms: Sequence[Arm]) -> None:
    """The one legend."""
    from analysis import theme

    handles = [theme.key(title(arm.method), _colour(arm), linewidth=2) for arm in arms]
    handles += [theme.key("gold, 95 % band", linewidth=1.6), theme.key("proxy", linestyle=theme.DASHED, linewidth=1.0)]
    figure = panel.get_figure()
    assert figure is not None
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
