"""What models of each size see of the field guide: facts, misconceptions, compared and new animals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.best_of_n.answer_table import in_order
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import BEST_OF_N, MAIN, Arm, study
from analysis.runs.naming import GOLD_SDS
from analysis.runs.rank_order import claim_size_order, peak_gold
from analysis.runs.run_curves import answers
from analysis.statistics.claims import ClaimTable
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "field_guide"
SWEEPS = ("gao2022_fig1",)

Floats = NDArray[np.float64]

SEEN = {
    "truth": False,
    "confidence": False,
}  # whether a reader sees a part of gold who does not know the facts
PARTS = (
    "truth", "missing", "unasked", "repetition", "courtesy", "confidence", "insult", "illegal", "unended",
)  # fmt: skip
FAMILIES = {"compared": "compared animals", "new_animal": "new animals"}
TOLD_APART = ("fact", "misconception")  # the kinds of minimal pairs that the claims are about
LANGUAGE_MODEL = "proxy/proxy/trunk"  # the model that a reward model started from
ACCURACY = "share of minimal pairs"
FIFTH = (0.8, 1.0)  # of the steps at a constant rate


class Shares(NamedTuple):
    """What gold hangs on among answers of the initial policy."""

    parts: dict[str, float]  # part -> share of gold's variance within a prompt; they sum to 1
    unseen_facts: float  # accuracy on pairs of the best sum of the parts that need no knowledge of the facts


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw what gold hangs on, what reward models and language models of each size see, and where gold peaks."""
    choosing = [run for run in runs if run.method == "BestOfN"]
    if not choosing:
        raise MissingRuns("the figure needs runs of best-of-n on task=field_guide")
    compared, new = (study(choosing, unseen) for unseen in (False, True))
    arms, new_arms = (
        [arm for arm in of.of(BEST_OF_N, MAIN) if np.isfinite(arm.parameters)] for of in (compared, new)
    )
    claims = ClaimTable(NAME, GOLD_SDS)
    table = pd.DataFrame(
        [
            *share_rows(shares(arms[0].runs[0])),
            *pair_rows(arms),
            *model_rows(arms),
            *peak_rows(arms, "compared"),
            *peak_rows(new_arms, "new_animal"),
        ]
    )
    claim(claims, arms, new_arms)
    return FigureResult(table, pd.DataFrame(), claims, draw(table), checks.run_notes(compared))


# --- numbers ----------------------------------------------------------------------------------------------------


def shares(run: Run) -> Shares:
    """Return what gold hangs on among the answers that a run chooses from.

    Gold is the sum of its parts, so their weights are those of an exact regression, and the covariance of a weighted
    part with gold is its share of gold's variance.
    """
    names = [f"gold.{part}" for part in PARTS]
    rows = in_order(answers(run, ["prompt_id", "question_id", "gold", *names]))
    prompt = np.unique(rows["prompt_id"].to_numpy(), return_inverse=True)[1]
    gold = _within(rows["gold"].to_numpy().astype(float), prompt)
    values = np.stack([_within(rows[name].to_numpy().astype(float), prompt) for name in names], axis=1)
    weights = np.linalg.lstsq(values, gold, rcond=None)[0]
    covariance = (weights * values * gold[:, None]).mean(axis=0) / (gold**2).mean()
    seen = values[:, [SEEN.get(part, True) for part in PARTS]]
    guess = seen @ np.linalg.lstsq(seen, gold, rcond=None)[0]
    even, odd = slice(0, len(gold) // 2 * 2, 2), slice(1, None, 2)
    gaps = np.stack([gold[even] - gold[odd], guess[even] - guess[odd]])[:, prompt[even] == prompt[odd]]
    signs = np.sign(np.round(gaps[:, np.abs(gaps[0]) > 1e-6], 6))
    right = (signs[0] == signs[1]) + 0.5 * (signs[1] == 0)
    return Shares(dict(zip(PARTS, covariance.tolist(), strict=True)), float(right.mean()))


def _within(values: Floats, prompt: NDArray[np.int64]) -> Floats:
    """Return values (N,) less the mean of their prompt."""
    return values - (np.bincount(prompt, values) / np.bincount(prompt))[prompt]


def preferred(arm: Arm, family: str, kind: str) -> Floats:
    """(R,): how often each replicate's reward model prefers the better answer of the minimal pairs of a kind."""
    found = [run.evaluation("proxy")["minimal_pairs"][family][kind] for run in arm.runs]
    return np.array([pairs["accuracy"]["mean"] for pairs in found])


def known(run: Run) -> dict[str, float]:
    """Return what the language model below a reward model knows at half of its steps and at the end.

    `still` is how much the loss falls in the last fifth of the steps at a constant rate, as a share of the loss.
    """
    lines = [line for line in run.stage_metrics(LANGUAGE_MODEL) if "heldout_loss" in line]
    model = run.config["rm"]["model"]
    steps = np.array([line["step"] for line in lines], dtype=float)
    loss = np.array([line["heldout_loss"] for line in lines])
    truth = np.array([line["truth_auc"] for line in lines])
    constant = model["steps"] * (1 - model["decay"])
    begin, end = np.interp(np.multiply(FIFTH, constant), steps, loss)
    half = int(np.abs(steps - model["steps"] / 2).argmin())
    return {
        "loss at half": loss[half],
        "loss": loss[-1],
        "truth at half": truth[half],
        "truth": truth[-1],
        "still": (begin - end) / begin,
    }


# --- rows and claims --------------------------------------------------------------------------------------------


def share_rows(found: Shares) -> list[dict[str, Any]]:
    """Return the rows of what gold hangs on."""
    rows = [{"panel": "gold", "what": part, "estimate": share} for part, share in found.parts.items()]
    return [*rows, {"panel": "gold", "what": "accuracy without facts", "estimate": found.unseen_facts}]


def _row(panel: str, arm: Arm, family: str, what: str, estimate: Estimate) -> dict[str, Any]:
    about = {"panel": panel, "rm": arm.rm, "parameters": arm.parameters, "family": family, "what": what}
    return about | estimate.row()


def pair_rows(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Return the accuracy of every size on every kind of minimal pair."""
    kinds = arms[0].runs[0].evaluation("proxy")["minimal_pairs"]["compared"]
    return [
        _row("pairs", arm, family, kind, Estimate.of_replicates(preferred(arm, family, kind)))
        for arm in arms
        for family in FAMILIES
        for kind in kinds
    ]


def model_rows(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Return what language models of every size know."""
    rows = []
    for arm in arms:
        found = [known(run) for run in arm.runs]
        rows += [
            _row("language model", arm, "", what, Estimate.of_replicates([run[what] for run in found]))
            for what in found[0]
        ]
    return rows


def peak_rows(arms: Sequence[Arm], family: str) -> list[dict[str, Any]]:
    """Return gold at the peak of best-of-n of every size, measured on questions that did not choose it."""
    return [_row("peak", arm, family, "gold at the peak", Estimate.of(peak_gold(arm))) for arm in arms]


def claim(claims: ClaimTable, arms: Sequence[Arm], new_arms: Sequence[Arm]) -> None:
    """Make the claims of the figure."""
    largest = arms[-1]
    claims.above(
        "facts_seen",
        f"reward model of {largest.rm}",
        "it prefers the fact to another value in a share of pairs",
        Estimate.of_replicates(preferred(largest, "compared", "fact")),
        len(largest.runs),
        "facts",
        unit=ACCURACY,
        most=1.0,
    )
    claim_size_order(
        claims,
        "misconception_order",
        "reward models",
        "larger ones prefer the fact to what most people believe more often",
        arms,
        lambda arm: preferred(arm, "compared", "misconception"),
        "misconceptions",
    )
    claim_size_order(
        claims,
        "new_animals_order",
        "best-of-n about new animals",
        "larger reward models reach higher gold",
        new_arms,
        peak_gold,
        "new animals",
    )
    share = claims.limits["flat"]["share"]
    for arm in arms:
        claims.below(
            "flat",
            f"language model of {arm.rm}",
            f"its loss falls by less than {share:.0%} in the last fifth of its steps at a constant rate",
            Estimate.of_replicates([known(run)["still"] for run in arm.runs]),
            len(arm.runs),
            "loss is flat",
            share,
            unit="share of the loss",
        )


# --- drawing ----------------------------------------------------------------------------------------------------


def draw(table: pd.DataFrame) -> Figure:
    """Draw four panels: shares of gold's variance, accuracy on minimal pairs, language models, and peaks."""
    figure = theme.blank(theme.WIDTH, 5.2)
    axes = figure.subplots(2, 2).ravel()
    draw_shares(axes[0], table[table["panel"] == "gold"])
    draw_pairs(axes[1], table[table["panel"] == "pairs"])
    draw_models(axes[2], table[table["panel"] == "language model"])
    draw_peaks(axes[3], table[table["panel"] == "peak"])
    for panel in axes[1:]:
        panel.set_xscale("log")
        sizes = table.dropna(subset=["parameters"]).groupby("rm", sort=False)["parameters"].first()
        panel.set_xticks(sizes, sizes.index)
        panel.minorticks_off()
        panel.set_xlabel("parameters")
    return figure


def draw_shares(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw the share of each part of gold as a bar."""
    parts = rows[rows["what"].isin(PARTS)].sort_values("estimate")
    colours = [theme.GREY if SEEN.get(part, True) else theme.ORANGE for part in parts["what"]]
    panel.barh(parts["what"], parts["estimate"], color=colours)
    panel.set_xlabel("share of gold's variance within a prompt")
    blind = rows.loc[rows["what"] == "accuracy without facts", "estimate"].item()
    panel.text(
        0.98,
        0.06,
        f"without the facts (grey parts alone)\n{blind:.2f} of pairs are told apart",
        transform=panel.transAxes,
        ha="right",
        fontsize=7,
    )
    theme.letter(panel, "")


def draw_pairs(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw accuracy on minimal pairs over size: facts and misconceptions, and the mean of all other kinds."""
    others = rows[~rows["what"].isin(TOLD_APART)]
    manners = others[others["family"] == "compared"].groupby("parameters")["estimate"].mean()
    for kind, colour in zip(TOLD_APART, (theme.ORANGE, theme.sizes(3)[1]), strict=True):
        for family, style in zip(FAMILIES, ("-", theme.DASHED), strict=True):
            one = rows[(rows["family"] == family) & (rows["what"] == kind)]
            label = f"{kind}, {FAMILIES[family]}"
            panel.plot(one["parameters"], one["estimate"], color=colour, linestyle=style, label=label)
            panel.fill_between(
                one["parameters"].to_numpy(float), one["lo"], one["hi"], color=colour, alpha=0.12, linewidth=0
            )
    panel.plot(manners.index, manners, color=theme.GREY, label="manners (mean of 7 kinds)")
    panel.axhline(0.5, color="0.8", linewidth=0.6, zorder=0)
    panel.set_ylabel("share of minimal pairs\nthat the reward model tells")
    panel.set_ylim(0, 1.02)
    panel.legend(fontsize=6, loc="lower right")


def draw_models(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw how well language models tell false answers at half and at all of their steps."""
    for what, style, label in (
        ("truth at half", theme.DASHED, "at half of the steps"),
        ("truth", "-", "at the end"),
    ):
        one = rows[rows["what"] == what]
        panel.plot(one["parameters"], one["estimate"], color="0.2", linestyle=style, label=label)
        panel.fill_between(
            one["parameters"].to_numpy(float), one["lo"], one["hi"], color="0.2", alpha=0.12, linewidth=0
        )
    panel.set_ylim(0.45, 1.02)
    panel.set_ylabel("AUC: the language model expects\na reader to say no to a false answer")
    panel.legend(fontsize=6)


def draw_peaks(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw gold at the peak of best-of-n over size, for compared and for new animals."""
    for family, style in zip(FAMILIES, ("-", theme.DASHED), strict=True):
        one = rows[rows["family"] == family]
        panel.plot(one["parameters"], one["estimate"], color="0.2", linestyle=style, label=FAMILIES[family])
        panel.fill_between(
            one["parameters"].to_numpy(float), one["lo"], one["hi"], color="0.2", alpha=0.12, linewidth=0
        )
    panel.set_ylim(bottom=0)
    panel.set_ylabel("gold at the peak of best-of-n (SDs)")
    panel.legend(fontsize=6)
