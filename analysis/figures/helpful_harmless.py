"""What refusing harmful requests costs in help, over how much the labeler likes refusals (2204.05862, section 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.behaviour import answer_shares
from analysis.behaviour.answer_shares import Key, Measured, Shares, prompt_shares, rates, scored_answers
from analysis.behaviour.doses import Doses, dose, dosed, drift
from analysis.best_of_n.curves import Curves, kl_axis
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.arms import Unsuited, study, title
from analysis.statistics.claims import (
    Claim,
    Thresholds,
    all_met,
    by_equivalence,
    by_estimate,
    exceeds,
    thresholds,
)
from rlhf_lab.functional.intervals import Estimate, Interval
from rlhf_lab.store.records import MissingRuns, Run

NAME = "helpful_harmless"
SWEEPS = ("helpful_harmless",)

Rule = Mapping[str, float]

LABELER = "cautious"
FAMILIES = {  # group of harmless prompts -> its families
    "facts": ("fact",),
    "sums": ("arithmetic",),
    "beliefs": ("belief_right", "belief_wrong"),
}
REFUSED: Key = ("refused", "harmful")
OVER_REFUSED: Key = ("refused", "harmless")
HELPFUL: Key = ("helpfulness", "harmless")
KEYS: tuple[Key, ...] = (REFUSED, OVER_REFUSED, *(("refused", name) for name in FAMILIES), HELPFUL)
SLOPES: tuple[tuple[Key, int, str, str], ...] = (  # number, the sign of its slope, what is claimed, the rule
    (REFUSED, 1, "more harmful requests are refused", "rate_slope"),
    (OVER_REFUSED, 1, "more harmless prompts are refused", "rate_slope"),
    (HELPFUL, -1, "less helpful on harmless prompts", "helpfulness_slope"),
)


def make(runs: Sequence[Run]) -> FigureResult:
    """Paths of best-of-n and of PPO by the labeler's bonus for a refusal, and refusals of harmless prompts over KL."""
    own = [run for run in runs if dose(run, LABELER) is not None]
    if not own:
        raise MissingRuns("no run against a cautious labeler's reward model is made")
    read = study(own)
    arms = answer_shares.measure_arms(read, of_run)
    found = [dosed([of for of in arms if of.arm.method == method], LABELER) for method in read.methods]
    table = pd.DataFrame([row for one in found for row in _rows(one)])
    made = claims(found, thresholds(NAME))
    return FigureResult(
        table, _fits(found), made, draw(found, table), [*notes(found), *checks.kl_bound_notes(read)]
    )


def of_run(run: Run, curves: Curves) -> dict[Key, Shares]:
    """Refusals by group of prompts, and helpfulness: gold less SFT's on harmless prompts, in SDs of gold there."""
    answers = scored_answers(run, curves.points, ("gold", "behaviour.refuses"))
    family, gold = answers.family, answers.number("gold")
    harmful = family == "harmful"
    if not harmful.any():
        raise Unsuited(f"run {run.key} has no harmful requests: task=every_family has")
    groups = {"harmful": harmful, "harmless": ~harmful}
    groups |= {name: np.isin(family, families) for name, families in FAMILIES.items()}
    refused = answers.means((answers.number("behaviour.refuses") > 0).astype(float))
    found: dict[Key, Shares] = {
        ("refused", name): prompt_shares(answers, curves.questions, own, refused)
        for name, own in groups.items()
    }
    of_harmless = answers.rows["family"].to_numpy(zero_copy_only=False) != "harmful"
    sd = gold[answers.sft & of_harmless].std()
    risen = answers.means(gold)
    risen = (risen - risen[:, :1]) / sd
    return found | {HELPFUL: prompt_shares(answers, curves.questions, ~harmful, risen)}


# --- claims -------------------------------------------------------------------------------------------------


def claims(found: Sequence[Doses], limits: Thresholds) -> list[Claim]:
    """Slopes on the dose; that nothing is over-refused more at dose 0; that no dose has both virtues."""
    made = []
    for one in found:
        made += [_slope(one, *of, limits) for of in SLOPES]
        made += [_flat(one, limits["flat"]), _corner(one, limits["corner"])]
    return made


def _slope(one: Doses, key: Key, sign: int, words: str, rule: str, limits: Thresholds) -> Claim:
    found = one.slope(*key)
    return by_estimate(
        f"{_method(one)}: {words}, late in the optimisation, the larger the labeler's bonus for a refusal",
        found._replace(value=sign * found.value),
        limits[rule],
        one.plain.questions(*key),
        unit=f"{'SDs' if key == HELPFUL else 'share of answers'} a gold unit",
        subject=_method(one),
        topic=words,
    )


def _flat(one: Doses, rule: Rule) -> Claim:
    return by_equivalence(
        f"{_method(one)}, dose 0: harmless prompts are refused, late in the optimisation, as often as by SFT",
        drift(one.plain, *OVER_REFUSED),
        -rule["margin"],
        rule["margin"],
        one.plain.questions(*OVER_REFUSED),
        len(one.plain.arm.seeds) >= rule["replicates"],
        unit="share of answers",
        subject=_method(one),
        topic="over-refusal flat at dose 0",
    )


def inside(of: Measured, rule: Rule) -> tuple[Estimate, Estimate]:
    """How far beyond the corner's bounds an arm ends: harmful requests refused, harmless prompts not refused."""
    harmful, harmless = (rates(of, key)[-1] for key in (REFUSED, OVER_REFUSED))
    return (
        harmful._replace(value=harmful.value - rule["refused"]),
        harmless._replace(value=rule["over_refused"] - harmless.value),
    )


def _corner(one: Doses, rule: Rule) -> Claim:
    """All doses at once: intervals are of Bonferroni."""
    level = 1 - 0.05 / len(one.arms)
    ends = [inside(of, rule) for of in one.arms]
    reached = [all_met(exceeds(side.interval(level), 0.0) for side in sides) for sides in ends]
    nearest = max((min(sides, key=lambda side: side.value) for sides in ends), key=lambda side: side.value)
    lo, hi = nearest.interval(level)
    return Claim(
        claim=f"{_method(one)}: no dose ends with {rule['refused']:g} of harmful requests refused and at most "
        f"{rule['over_refused']:g} of harmless prompts",
        measured=-nearest.value,
        interval=Interval(-hi, -lo),
        threshold=0.0,
        n=min(one.plain.questions(*key) for key in (REFUSED, OVER_REFUSED)),
        replicates=nearest.replicates,
        met=False if any(reached) else None if None in reached else True,
        rule=f"met: every dose misses a bound with its {100 * level:g} % interval; not met: one dose keeps both with "
        "theirs; else undecided",
        unit="share of answers that the dose which comes nearest is short of",
        subject=_method(one),
        topic="no dose has both",
        conditional=nearest.is_conditional,
    )


def notes(found: Sequence[Doses]) -> list[str]:
    """What gold's own labels do to refusals, family by family; the best place of all paths in hindsight."""
    said = [
        "of a request that is met gold is 3 lower than of one that is refused, so a bonus of -3 makes its labeler not "
        "care; an answer without a claim is worth more to gold than a wrong one (-.75 against -1.5): reward models of "
        "gold may like refusals of harmless prompts, too"
    ]
    for one in found:
        of = one.plain
        families = "; ".join(
            f"{group} {of.at(0, *key).value:.2f} to {of.at(-1, *key).value:.2f} (n={of.questions(*key)})"
            for group in ("harmful", "harmless", *FAMILIES)
            for key in [("refused", group)]
        )
        said.append(f"{_method(one)}, dose 0: refused by SFT and at {ablation.end_of(of.arm)}: {families}")
        said.append(_in_hindsight(one))
    return said


def _in_hindsight(one: Doses) -> str:
    """The point of any path that refuses most harmful requests beyond harmless ones."""
    best = ("", 0, -1.0, 0.0, 0.0)
    for of, arm in zip(one.doses, one.arms, strict=True):
        harmful, harmless = (arm.draws(*key)[:, 0].mean(axis=0) for key in (REFUSED, OVER_REFUSED))
        place = int((harmful - harmless).argmax())
        if (apart := harmful[place] - harmless[place]) > best[2]:
            point = int(arm.arm.curves[0].points[place])
            best = (f"{of:+g}", point, float(apart), float(harmful[place]), float(harmless[place]))
    return (
        f"{_method(one)}: harmful and harmless prompts are told apart best, in hindsight, at dose {best[0]} and "
        f"{'n =' if one.plain.arm.chooses else 'step'} {best[1]}: {best[3]:.2f} of the harmful are refused, "
        f"{best[4]:.2f} of the harmless"
    )


def _method(one: Doses) -> str:
    return title(one.plain.arm.method)


# --- tables -------------------------------------------------------------------------------------------------


def _rows(one: Doses) -> Iterator[dict[str, Any]]:
    for of, arm in zip(one.doses.tolist(), one.arms, strict=True):
        yield from ({"dose": of} | row for row in answer_shares.rate_rows(arm, KEYS))


def _fits(found: Sequence[Doses]) -> pd.DataFrame:
    rows = []
    for one in found:
        arm = one.plain.arm
        for key in KEYS:
            name, group = key
            slope, n = one.slope(*key), one.plain.questions(*key)
            rows.append(
                answer_shares.fit_row(arm, f"{group} prompts", f"slope of {name} on the dose", slope, n)
            )
            moved = drift(one.plain, *key)
            rows.append(
                answer_shares.fit_row(arm, f"{group} prompts", f"{name} at dose 0 minus SFT's", moved, n)
            )
    return pd.DataFrame(rows)


# --- ink ----------------------------------------------------------------------------------------------------


def draw(found: Sequence[Doses], table: pd.DataFrame) -> Figure:
    """A row a method: paths and their ends, then refusals of harmless prompts by family; a colour a dose."""
    doses = sorted(set(table["dose"]))
    colour = _colours(doses)
    figure = theme.blank(theme.WIDTH, 0.9 + 2.3 * len(found))
    widths = [1.7, *[1] * len(FAMILIES)]
    axes = figure.subplots(len(found), len(widths), squeeze=False, width_ratios=widths)
    for row, one in zip(axes, found, strict=True):
        own = table[table["method"] == one.plain.arm.method]
        _paths(row[0], own, colour)
        row[0].set_ylabel(f"{_method(one)}\nharmful requests refused")
        for panel, group in zip(row[1:], FAMILIES, strict=True):
            _over(panel, own[(own["number"] == "refused") & (own["prompts"] == group)], colour)
        row[1].set_ylabel("refused")
        for panel in row[2:]:
            panel.tick_params(axis="y", labelleft=False)
        row[2].set_xlabel(kl_axis([one.plain.arm.curves[0].estimator]))
    axes[-1, 0].set_xlabel("helpfulness: gold on harmless prompts, SDs above SFT")
    for panel, group in zip(
        axes[0], ("help and harm", *(f"{name} refused" for name in FAMILIES)), strict=True
    ):
        panel.set_title(group)
    handles = [theme.key(f"{of:+g}" if of else "0 (gold)", colour[of], linewidth=2) for of in doses]
    handles += [
        theme.key("SFT", "0.2", marker="s"),
        theme.key("ends, from dose to dose", "0.5", linestyle=theme.DOTTED),
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), title="labeler's bonus for a refusal"
    )
    return figure


def _colours(doses: Sequence[float]) -> dict[float, Any]:
    """Warm below 0, grey at 0, viridis above."""
    below, above = [of for of in doses if of < 0], [of for of in doses if of > 0]
    warm = dict(zip(below, theme.WARM, strict=False))
    return warm | {0.0: theme.GREY} | dict(zip(above, theme.sizes(len(above) + 1)[-2::-1], strict=True))


def _paths(panel: Axes, rows: pd.DataFrame, colour: Mapping[float, Any]) -> None:
    ends = []
    for of, hue in colour.items():
        own = rows[rows["dose"] == of]
        x, y = (
            own[(own["number"] == name) & (own["prompts"] == group)] for name, group in (HELPFUL, REFUSED)
        )
        if x.empty:
            continue
        panel.plot(
            x["value"].to_numpy(), y["value"].to_numpy(), color=hue, linewidth=1.3, marker="o", markersize=1.6
        )
        (last_x, last_y) = x.iloc[-1], y.iloc[-1]
        panel.hlines(last_y["value"], last_x["lo"], last_x["hi"], color=hue, linewidth=0.8)
        panel.vlines(last_x["value"], max(last_y["lo"], 0), min(last_y["hi"], 1), color=hue, linewidth=0.8)
        theme.mark(panel, last_x["value"], last_y["value"], hue)
        ends.append((of, last_x["value"], last_y["value"]))
        start = y.iloc[0]["value"]
    theme.mark(panel, 0.0, start, "0.2", "s")
    _, x, y = zip(*sorted(ends), strict=True)
    panel.plot(x, y, color="0.5", linestyle=theme.DOTTED, linewidth=1, zorder=0)
    panel.set_ylim(-0.03, 1.03)
    panel.margins(x=0.08)


def _over(panel: Axes, rows: pd.DataFrame, colour: Mapping[float, Any]) -> None:
    for of, hue in colour.items():
        own = rows[rows["dose"] == of]
        panel.fill_between(
            own["kl"], own["lo"].clip(0), own["hi"].clip(upper=1), color=hue, alpha=0.14, linewidth=0
        )
        panel.plot(own["kl"], own["value"], color=hue, linewidth=1.4)
    theme.square_root_nats(panel, float(rows["kl"].max()), gap=0.25)
    panel.set_ylim(-0.03, 1.03)
