"""What refusing harmful requests costs in help, over how much the labeler likes refusals (2204.05862, section 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

from analysis.behaviour import answer_shares
from analysis.behaviour.answer_shares import Key, Measured, Shares, prompt_shares, rates, scored_answers
from analysis.behaviour.doses import Doses, dose, dosed, drift
from analysis.best_of_n.curves import Curves, kl_axis
from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.arms import Unsuited, study, title
from analysis.statistics.claims import Claim, ClaimTable, all_met, exceeds
from rlhf_lab.functional.intervals import Estimate, Interval
from rlhf_lab.store.records import MissingRuns, Run

NAME = "helpful_harmless"
SWEEPS = ("helpful_harmless",)

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
SLOPES: tuple[tuple[Key, int, str, str], ...] = (  # number, sign of its slope, sentence, table of thresholds
    (REFUSED, 1, "more harmful requests are refused", "rate_slope"),
    (OVER_REFUSED, 1, "more harmless prompts are refused", "rate_slope"),
    (HELPFUL, -1, "less helpful on harmless prompts", "helpfulness_slope"),
)


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw the paths of each method by the labeler's bonus for a refusal, and refusals of harmless prompts over KL."""
    chosen = [run for run in runs if dose(run, LABELER) is not None]
    if not chosen:
        raise MissingRuns("no run against a cautious labeler's reward model is made")
    data = study(chosen)
    arms = answer_shares.measure_arms(data, of_run)
    by_method = [
        dosed([measured for measured in arms if measured.arm.method == method], LABELER)
        for method in data.methods
    ]
    table = pd.DataFrame([row for doses in by_method for row in rows(doses)])
    claims = ClaimTable(NAME, "share of answers")
    for doses in by_method:
        claim_slopes(claims, doses)
        claim_flat(claims, doses)
        claim_no_dose_has_both(claims, doses)
    lines = [*notes(by_method), *checks.run_notes(data)]
    return FigureResult(table, fits_table(by_method), claims, draw(by_method, table), lines)


def of_run(run: Run, curves: Curves) -> dict[Key, Shares]:
    """Return refusals by group of prompts, and helpfulness on harmless prompts.

    Helpfulness is gold minus SFT's, in SDs of gold on harmless prompts. Raises Unsuited without harmful requests.
    """
    answers = scored_answers(run, curves.points, ("gold", "behaviour.refuses"))
    family, gold = answers.family, answers.number("gold")
    harmful = family == "harmful"
    if not harmful.any():
        raise Unsuited(f"run {run.key} has no harmful requests: run it with task=every_family")
    groups = {"harmful": harmful, "harmless": ~harmful}
    groups |= {name: np.isin(family, families) for name, families in FAMILIES.items()}
    refused = answers.means((answers.number("behaviour.refuses") > 0).astype(float))
    shares: dict[Key, Shares] = {
        ("refused", name): prompt_shares(answers, curves.questions, group, refused)
        for name, group in groups.items()
    }
    harmless = answers.rows["family"].to_numpy(zero_copy_only=False) != "harmful"
    rise = answers.means(gold)
    rise = (rise - rise[:, :1]) / gold[answers.sft & harmless].std()
    return shares | {HELPFUL: prompt_shares(answers, curves.questions, ~harmful, rise)}


def method_title(doses: Doses) -> str:
    """Return the method in words."""
    return title(doses.plain.arm.method)


# --- claims -------------------------------------------------------------------------------------------------


def claim_slopes(claims: ClaimTable, doses: Doses) -> None:
    """Claim that refusals grow, and helpfulness falls, with the labeler's bonus for a refusal."""
    for key, sign, sentence, limits in SLOPES:
        slope = doses.slope(*key)
        claims.above(
            limits,
            method_title(doses),
            f"{sentence}, late in the optimisation, the larger the labeler's bonus for a refusal",
            slope._replace(value=sign * slope.value),
            doses.plain.questions(*key),
            sentence,
            unit=f"{'SDs' if key == HELPFUL else 'share of answers'} a gold unit",
        )


def claim_flat(claims: ClaimTable, doses: Doses) -> None:
    """Claim `flat`: at dose 0, late in the optimisation, harmless prompts are refused as often as by SFT."""
    claims.equivalent(
        "flat",
        method_title(doses),
        "at dose 0 harmless prompts are refused, late in the optimisation, as often as by SFT",
        drift(doses.plain, *OVER_REFUSED),
        doses.plain.questions(*OVER_REFUSED),
        "over-refusal flat at dose 0",
    )


def claim_no_dose_has_both(claims: ClaimTable, doses: Doses) -> None:
    """Claim `corner`: no dose refuses nearly all harmful requests and few harmless prompts; Bonferroni over doses."""
    limits = claims.limits["corner"]
    level = 1 - 0.05 / len(doses.arms)
    ends = [beyond_bounds(measured, limits) for measured in doses.arms]
    reached = [all_met(exceeds(side.interval(level), 0.0) for side in sides) for sides in ends]
    nearest = max((min(sides, key=lambda side: side.value) for sides in ends), key=lambda side: side.value)
    lo, hi = nearest.interval(level)
    claims.append(
        Claim(
            claim=f"{method_title(doses)}: no dose ends with {limits['refused']:g} of harmful requests refused and at "
            f"most {limits['over_refused']:g} of harmless prompts",
            measured=-nearest.value,
            interval=Interval(-hi, -lo),
            threshold=0.0,
            n=min(doses.plain.questions(*key) for key in (REFUSED, OVER_REFUSED)),
            replicates=nearest.replicates,
            met=False if any(reached) else None if None in reached else True,
            rule=f"met: every dose misses a bound with its {100 * level:g} % interval; not met: one dose keeps both "
            "with theirs; else undecided",
            unit="share of answers that the nearest dose is short of",
            subject=method_title(doses),
            topic="no dose has both",
            primary=limits.get("primary", False),
            conditional=nearest.is_conditional,
        )
    )


def beyond_bounds(measured: Measured, limits: Mapping[str, float]) -> tuple[Estimate, Estimate]:
    """Return how far an arm ends beyond both bounds: harmful requests refused, harmless prompts not refused."""
    harmful, harmless = (rates(measured, key)[-1] for key in (REFUSED, OVER_REFUSED))
    return (
        harmful._replace(value=harmful.value - limits["refused"]),
        harmless._replace(value=limits["over_refused"] - harmless.value),
    )


def notes(by_method: Sequence[Doses]) -> list[str]:
    """Say what gold's own labels do to refusals, family by family, and the best point of all paths in hindsight."""
    lines = [
        "gold is 3 lower for a request that is met than for one that is refused, so a labeler with a bonus of -3 does "
        "not care. An answer without a claim is worth more to gold than a wrong one (-.75 against -1.5), so reward "
        "models of gold may also like refusals of harmless prompts"
    ]
    for doses in by_method:
        plain = doses.plain
        families = "; ".join(
            f"{group} {plain.at(0, *key).value:.2f} to {plain.at(-1, *key).value:.2f} (n={plain.questions(*key)})"
            for group in ("harmful", "harmless", *FAMILIES)
            for key in [("refused", group)]
        )
        end = ablation.end_of(plain.arm)
        lines.append(f"{method_title(doses)}, dose 0: refused by SFT and at {end}: {families}")
        lines.append(best_in_hindsight(doses))
    return lines


def best_in_hindsight(doses: Doses) -> str:
    """Say at which point of any path the refusals of harmful requests exceed those of harmless prompts the most."""
    points = []
    for dosage, measured in zip(doses.doses, doses.arms, strict=True):
        harmful, harmless = (measured.draws(*key)[:, 0].mean(axis=0) for key in (REFUSED, OVER_REFUSED))
        place = int((harmful - harmless).argmax())
        point = measured.arm.curves[0].points[place]
        points.append((float(harmful[place]), float(harmless[place]), f"{dosage:+g}", int(point)))
    harmful, harmless, dosage, point = max(points, key=lambda point: point[0] - point[1])
    return (
        f"{method_title(doses)}: in hindsight, harmful and harmless prompts are told apart best at dose {dosage} and "
        f"{'n =' if doses.plain.arm.chooses else 'step'} {point}: {harmful:.2f} of the harmful requests are refused, "
        f"{harmless:.2f} of the harmless prompts"
    )


# --- tables -------------------------------------------------------------------------------------------------


def rows(doses: Doses) -> Iterator[dict[str, Any]]:
    """Yield a row for each dose, number, group of prompts and point."""
    for dosage, measured in zip(doses.doses.tolist(), doses.arms, strict=True):
        yield from ({"dose": dosage} | row for row in answer_shares.rate_rows(measured, KEYS))


def fits_table(by_method: Sequence[Doses]) -> pd.DataFrame:
    """Return the slopes on the dose, and the drift at dose 0, of every number."""
    rows = []
    for doses in by_method:
        arm = doses.plain.arm
        for key in KEYS:
            name, group = key
            for parameter, estimate in (
                (f"slope of {name} on the dose", doses.slope(*key)),
                (f"{name} at dose 0 minus SFT's", drift(doses.plain, *key)),
            ):
                n = doses.plain.questions(*key)
                rows.append(answer_shares.fit_row(arm, f"{group} prompts", parameter, estimate, n))
    return pd.DataFrame(rows)


# --- drawing ------------------------------------------------------------------------------------------------


def draw(by_method: Sequence[Doses], table: pd.DataFrame) -> Figure:
    """Draw a row for each method: paths and their ends, then refusals of harmless prompts; a colour for each dose."""
    colours = dose_colours(sorted(set(table["dose"])))
    figure = theme.blank(theme.WIDTH, 0.9 + 2.3 * len(by_method))
    widths = [1.7, *[1] * len(FAMILIES)]
    axes = figure.subplots(len(by_method), len(widths), squeeze=False, width_ratios=widths)
    for row, doses in zip(axes, by_method, strict=True):
        of_method = table[table["method"] == doses.plain.arm.method]
        draw_paths(row[0], of_method, colours)
        row[0].set_ylabel(f"{method_title(doses)}\nharmful requests refused")
        for panel, group in zip(row[1:], FAMILIES, strict=True):
            refusals = of_method[(of_method["number"] == "refused") & (of_method["prompts"] == group)]
            draw_refusals(panel, refusals, colours)
        row[1].set_ylabel("refused")
        for panel in row[2:]:
            panel.tick_params(axis="y", labelleft=False)
        row[2].set_xlabel(kl_axis([doses.plain.arm.curves[0].estimator]))
    axes[-1, 0].set_xlabel("helpfulness: gold on harmless prompts, SDs above SFT")
    titles = ("help and harm", *(f"{name} refused" for name in FAMILIES))
    for panel, words in zip(axes[0], titles, strict=True):
        panel.set_title(words)
    handles = [
        theme.key(f"{dosage:+g}" if dosage else "0 (gold)", colour, linewidth=2)
        for dosage, colour in colours.items()
    ]
    handles += [
        theme.key("SFT", "0.2", marker="s"),
        theme.key("ends, from dose to dose", "0.5", linestyle=theme.DOTTED),
    ]
    plot.legend(figure, handles, title="labeler's bonus for a refusal")
    return figure


def dose_colours(doses: Sequence[float]) -> Mapping[float, ColorType]:
    """Return warm colours for doses below 0, grey for 0, viridis for doses above, in order."""
    below, above = [dosage for dosage in doses if dosage < 0], [dosage for dosage in doses if dosage > 0]
    warm = dict(zip(below, theme.WARM, strict=False))
    return warm | {0.0: theme.GREY} | dict(zip(above, theme.sizes(len(above) + 1)[-2::-1], strict=True))


def draw_paths(panel: Axes, rows: pd.DataFrame, colours: Mapping[float, ColorType]) -> None:
    """Draw harmful requests refused over helpfulness, a path for each dose from SFT to its end with intervals there."""
    ends = []
    for dosage, colour in colours.items():
        of_dose = rows[rows["dose"] == dosage]
        helpful, refused = (
            of_dose[(of_dose["number"] == name) & (of_dose["prompts"] == group)]
            for name, group in (HELPFUL, REFUSED)
        )
        if helpful.empty:
            continue
        panel.plot(
            helpful["value"].to_numpy(),
            refused["value"].to_numpy(),
            color=colour,
            linewidth=1.3,
            marker="o",
            markersize=1.6,
        )
        x, y = helpful.iloc[-1], refused.iloc[-1]
        panel.hlines(y["value"], x["lo"], x["hi"], color=colour, linewidth=0.8)
        panel.vlines(x["value"], max(y["lo"], 0), min(y["hi"], 1), color=colour, linewidth=0.8)
        theme.mark(panel, x["value"], y["value"], colour)
        ends.append((x["value"], y["value"]))
        start = refused.iloc[0]["value"]
    theme.mark(panel, 0.0, start, "0.2", "s")
    panel.plot(*zip(*ends, strict=True), color="0.5", linestyle=theme.DOTTED, linewidth=1, zorder=0)
    panel.set_ylim(-0.03, 1.03)
    panel.margins(x=0.08)


def draw_refusals(panel: Axes, rows: pd.DataFrame, colours: Mapping[float, ColorType]) -> None:
    """Draw refusals of one family over KL, a line for each dose."""
    for dosage, colour in colours.items():
        of_dose = rows[rows["dose"] == dosage]
        clipped = of_dose.assign(lo=of_dose["lo"].clip(0), hi=of_dose["hi"].clip(upper=1))
        plot.curve(panel, clipped, "value", colour, width=1.4)
    theme.square_root_nats(panel, float(rows["kl"].max()), gap=0.25)
    panel.set_ylim(-0.03, 1.03)
