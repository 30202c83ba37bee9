"""How often answers match the user's stated view, over model size and steps of RL (2212.09251)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType
from numpy.typing import NDArray

from analysis.behaviour import answer_shares
from analysis.behaviour.answer_shares import Key, Measured, Shares, prompt_shares, scored_answers
from analysis.behaviour.doses import dose
from analysis.best_of_n.curves import Curves
from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import arm_by, common_seeds, study
from analysis.statistics.claims import ClaimTable
from rlhf_lab.functional.intervals import Estimate, floored
from rlhf_lab.store.records import MissingRuns, Run

NAME = "perez2022_rlsteps"
SWEEPS = ("perez2022_rlsteps",)

Floats = NDArray[np.float64]

GOLD, SYCOPHANTIC = 0.0, 2.0  # bonus of the labeler
WORDS = {GOLD: "gold", SYCOPHANTIC: "sycophantic labeler"}
BOTH = "both"  # kinds of beliefs, in equal numbers
BELIEFS = {"right": "belief_right", "wrong": "belief_wrong"}
PLAIN = ("fact", "arithmetic", "comparison")
RIGHT: Key = ("right", "plain")
KEYS: tuple[Key, ...] = (
    *(("matches", kind) for kind in BELIEFS),
    *(("no claim", kind) for kind in BELIEFS),
    *(("agrees", kind) for kind in BELIEFS),
    RIGHT,
)
FEWEST_SIZES = 3  # for a slope over sizes
LINES = 6  # steps that are drawn
UNIT = "share of claims"


@dataclass(frozen=True)
class Ladder:
    """Policies of several sizes under one labeler, the smallest first, at the steps that all were evaluated at."""

    dose: float
    arms: tuple[Measured, ...]
    steps: NDArray[np.int64]  # (K,)

    @property
    def sizes(self) -> Floats:
        """(S,) non-embedding parameters."""
        return np.array([measured.arm.policy_parameters for measured in self.arms])

    def matching(self, size: int, kind: str = BOTH) -> Floats:
        """(R, B, K): the share of claims that equal the stated belief, for the policies of one size."""
        measured = self.arms[size]
        points = np.searchsorted(measured.arm.curves[0].points, self.steps)
        kinds = tuple(BELIEFS) if kind == BOTH else (kind,)
        return np.mean([measured.draws("matches", kind)[:, :, points] for kind in kinds], axis=0)

    def shares(self, size: int, kind: str = BOTH) -> list[Estimate]:
        """Return the share at each step."""
        return self._estimates(size, self.matching(size, kind))

    def changes(self, size: int) -> list[Estimate]:
        """Return the share minus that of SFT at each step but the first."""
        draws = self.matching(size)
        return self._estimates(size, draws[:, :, 1:] - draws[:, :, :1])

    def _estimates(self, size: int, draws: Floats) -> list[Estimate]:
        return [floored(Estimate.of(step.T), self.questions(size)) for step in np.moveaxis(draws, 2, 0)]

    def slope(self, point: int, kind: str = BOTH) -> Estimate:
        """Return the slope of the share on log10 of the size, by least squares within each replicate."""
        seeds = common_seeds([measured.arm for measured in self.arms])
        draws = [
            self.matching(size, kind)[[measured.arm.seeds.index(seed) for seed in seeds], :, point].T
            for size, measured in enumerate(self.arms)
        ]
        centred = np.log10(self.sizes) - np.log10(self.sizes).mean()
        return Estimate.of(np.stack(draws, axis=-1) @ centred / (centred**2).sum())

    def questions(self, size: int | None = None) -> int:
        """Return how many questions have beliefs of both kinds, for one size or for the size with the fewest."""
        sizes = range(len(self.arms)) if size is None else [size]
        return min(self.arms[each].questions("matches", kind) for each in sizes for kind in BELIEFS)


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw the share over sizes, a line for each number of steps, a column for each labeler; below, wrong beliefs."""
    chosen = [run for run in runs if run.choices["policy"] == "ppo" and dose(run) in WORDS]
    if {dose(run) for run in chosen} != set(WORDS):
        raise MissingRuns(
            "no PPO run against gold's reward model and one against a sycophantic labeler's are made"
        )
    data = study(chosen)
    found = ladders(answer_shares.measure_arms(data, of_run))
    table = pd.DataFrame([row for ladder in found.values() for row in rows(ladder)])
    claims = ClaimTable(NAME, UNIT)
    make_claims(claims, found)
    return FigureResult(
        table, fits_table(found), claims, draw(found), [*notes(found), *checks.run_notes(data)]
    )


def of_run(run: Run, curves: Curves) -> dict[Key, Shares]:
    """Return the shares of one run's answers.

    They are claims that equal the stated belief, of the answers that claim anything; answers without a claim;
    agreement in words, of the answers that take a stance; and accuracy where nothing was stated.
    """
    answers = scored_answers(run, curves.points, ("behaviour.keeps", "behaviour.claim", "behaviour.stance"))
    keeps, family, questions = answers.number("behaviour.keeps"), answers.family, curves.questions
    matches, claimed = (answers.means(mark.astype(float)) for mark in (keeps > 0, keeps != 0))
    stance = answers.number("behaviour.stance")
    agrees, takes = (answers.means(mark.astype(float)) for mark in (stance > 0, stance != 0))
    shares: dict[Key, Shares] = {}
    for kind, name in BELIEFS.items():
        shares["matches", kind] = prompt_shares(answers, questions, family == name, matches, claimed)
        shares["no claim", kind] = prompt_shares(answers, questions, family == name, 1 - claimed)
        shares["agrees", kind] = prompt_shares(answers, questions, family == name, agrees, takes)
    right = answers.means((answers.number("behaviour.claim") > 0).astype(float))
    return shares | {RIGHT: prompt_shares(answers, questions, np.isin(family, PLAIN), right)}


def ladders(arms: Sequence[Measured]) -> dict[float, Ladder]:
    """Return the policies by size for each dose; MissingRuns unless every size has both labelers."""
    arm_by((measured.arm for measured in arms), lambda arm: (dose(arm.runs[0]), arm.runs[0].choices["model"]))
    by_dose = {
        dosed: [measured for measured in arms if dose(measured.arm.runs[0]) == dosed] for dosed in WORDS
    }
    sizes = {dosed: sorted(size_name(measured) for measured in by_dose[dosed]) for dosed in WORDS}
    if sizes[GOLD] != sizes[SYCOPHANTIC]:
        raise MissingRuns(
            f"policies against gold's reward model: {sizes[GOLD]}, against the other: {sizes[SYCOPHANTIC]}"
        )
    steps = set.intersection(*(set(measured.arm.curves[0].points.tolist()) for measured in arms))
    if len(steps) < 2:
        raise ValueError(
            "the runs have only their first checkpoint in common: give them the same policy.steps and "
            "policy.evaluations"
        )
    return {
        dosed: Ladder(
            dosed,
            tuple(sorted(of_dose, key=lambda measured: measured.arm.policy_parameters)),
            np.array(sorted(steps)),
        )
        for dosed, of_dose in by_dose.items()
    }


def size_name(measured: Measured) -> str:
    """Return the option of the policy's language model."""
    return measured.arm.runs[0].choices["model"]


# --- claims -------------------------------------------------------------------------------------------------


def make_claims(claims: ClaimTable, found: Mapping[float, Ladder]) -> None:
    """Claim what RL does under both labelers, then both sides of what is contested: whether size matters."""
    gold, sycophantic = found[GOLD], found[SYCOPHANTIC]
    for size in range(len(gold.arms)):
        claim_raises(claims, gold, sycophantic, size)
        claims.all_equivalent(
            "alike",
            f"{size_name(gold.arms[size])} policy",
            "under gold the share is similar at every number of RL steps, 0 included (the step furthest from SFT is "
            "reported)",
            gold.changes(size),
            gold.questions(size),
            "similar over steps",
        )
    if len(gold.arms) >= FEWEST_SIZES:
        for ladder, point in ((gold, 0), (gold, -1), (sycophantic, -1)):
            claim_over_sizes(claims, ladder, point)


def claim_raises(claims: ClaimTable, gold: Ladder, sycophantic: Ladder, size: int) -> None:
    """Claim `raises`: RL raises the share more under the sycophantic labeler than under gold, paired by seeds."""
    name = size_name(gold.arms[size])
    seeds = common_seeds([ladder.arms[size].arm for ladder in (gold, sycophantic)])
    if not seeds:
        raise MissingRuns(f"{name}: the two labelers' runs have no seeds in common")
    rises = []
    for ladder in (sycophantic, gold):
        draws = ladder.matching(size)[[ladder.arms[size].arm.seeds.index(seed) for seed in seeds]]
        rises.append((draws[:, :, -1] - draws[:, :, 0]).T)
    claims.above(
        "raises",
        f"{name} policy",
        f"{gold.steps[-1]} steps of RL raise the share that matches the user's view more under a sycophantic labeler "
        "than under gold",
        floored(Estimate.of(rises[0] - rises[1]), gold.questions(size)),
        gold.questions(size),
        "RL raises it",
    )


def claim_over_sizes(claims: ClaimTable, ladder: Ladder, point: int) -> None:
    """Claim that the share grows with size, and that it does not depend on it; conditional on one base model a size."""
    where = f"{ladder.steps[point]} steps, {WORDS[ladder.dose]}"
    slope, n, unit = ladder.slope(point), ladder.questions(), f"{UNIT} a tenfold size"
    claims.above(
        "grows",
        where,
        "larger models match the user's view more often",
        slope,
        n,
        "grows with size",
        unit=unit,
        conditional=True,
    )
    claims.equivalent(
        "same_size",
        where,
        "the share does not depend on the model's size",
        slope,
        n,
        "same at all sizes",
        unit=unit,
        conditional=True,
    )


def notes(found: Mapping[float, Ladder]) -> list[str]:
    """Say what is contested, what was measured behind the share, and how many answers make no claim."""
    lines = [
        "is sycophancy caused by RL or by scale? Perez et al. 2022 find that it grows with size, and that it is there "
        "at 0 steps of RL and alike over steps; replications find a base model at chance and instruction-tuned models "
        "far above it. A policy that knows the answer matches right beliefs without looking at them, and larger ones "
        "know more, so the table of fits also has the slopes of wrong beliefs alone. There is one base model and one "
        "SFT for each size: intervals over sizes are conditional on them"
    ]
    return lines + [note(ladder, size) for ladder in found.values() for size in range(len(ladder.arms))]


def note(ladder: Ladder, size: int) -> str:
    """Say what was measured of one size under one labeler, from SFT to the last step."""
    measured = ladder.arms[size]
    kinds = ", ".join(
        f"{kind} beliefs {shares[0].value:.2f} to {shares[-1].value:.2f}"
        for kind in BELIEFS
        for shares in [ladder.shares(size, kind)]
    )
    silent = np.mean([measured.at(-1, "no claim", kind).value for kind in BELIEFS])
    right = [measured.at(point, *RIGHT).value for point in (0, -1)]
    agrees = [measured.at(point, "agrees", "wrong").value for point in (0, -1)]
    return (
        f"{size_name(measured)} policy, {WORDS[ladder.dose]}: share of claims that match {kinds}; share of right "
        f"claims where nothing was stated {right[0]:.2f} to {right[1]:.2f}; share of stances on wrong beliefs "
        f"that agree in words {agrees[0]:.2f} to {agrees[1]:.2f}; {silent:.2f} of the answers at the end make "
        "no claim and are counted apart"
    )


# --- tables -------------------------------------------------------------------------------------------------


def rows(ladder: Ladder) -> Iterator[dict[str, Any]]:
    """Yield a row for each size, number, kind of prompts and step."""
    for size, measured in enumerate(ladder.arms):
        arm = {"dose": ladder.dose, "model": size_name(measured), "parameters": ladder.sizes[size]}
        for kind in (BOTH, *BELIEFS):
            for step, share in zip(ladder.steps.tolist(), ladder.shares(size, kind), strict=True):
                yield {
                    **arm,
                    "number": "matches",
                    "prompts": kind,
                    "n_or_step": step,
                    **share.row("value"),
                    "questions": ladder.questions(size),
                    "replicates": share.replicates,
                }
        others = [key for key in KEYS if key[0] != "matches"]
        yield from (arm | row for row in answer_shares.rate_rows(measured, others))


def fits_table(found: Mapping[float, Ladder]) -> pd.DataFrame:
    """Return the rises from SFT to the last step and the slopes over sizes."""
    rows = []
    for ladder in found.values():
        for size, measured in enumerate(ladder.arms):
            rise, n = ladder.changes(size)[-1], ladder.questions(size)
            form = f"{size_name(measured)} policy"
            rows.append(answer_shares.fit_row(measured.arm, form, "rise from SFT to the last step", rise, n))
        if len(ladder.arms) < FEWEST_SIZES:
            continue
        for kind in (BOTH, *BELIEFS):
            for point in (0, -1):
                form = f"{kind} beliefs, {WORDS[ladder.dose]}"
                parameter = f"slope on log10 size at step {ladder.steps[point]}"
                slope, n = ladder.slope(point, kind), ladder.questions()
                rows.append(answer_shares.fit_row(ladder.arms[0].arm, form, parameter, slope, n))
    return pd.DataFrame(rows)


# --- drawing ------------------------------------------------------------------------------------------------


def draw(found: Mapping[float, Ladder]) -> Figure:
    """Draw a column for each labeler, beliefs of both kinds above, wrong beliefs below."""
    steps = next(iter(found.values())).steps
    shown = np.unique(np.linspace(0, len(steps) - 1, LINES).round().astype(int))
    colours = dict(zip(shown.tolist(), theme.sizes(len(shown)), strict=True))
    figure = theme.blank(theme.WIDTH * 0.75, 4.4)
    axes = figure.subplots(2, len(found), sharex=True, sharey="row", squeeze=False)
    for column, (dosed, ladder) in zip(axes.T, sorted(found.items(), reverse=True), strict=True):
        for panel, kind in zip(column, (BOTH, "wrong"), strict=True):
            draw_ladder(panel, ladder, kind, colours)
        column[0].set_title(f"PPO, labels of {'a ' if dosed else ''}{WORDS[dosed]}")
        column[-1].set_xlabel("policy's non-embedding parameters")
    for panel, words in zip(axes[:, 0], ("right and wrong beliefs", "wrong beliefs"), strict=True):
        panel.set_ylabel(words)
    figure.supylabel("claims that match the user's view", fontsize=8)
    handles = [theme.key(str(steps[point]), colour, linewidth=2) for point, colour in colours.items()]
    plot.legend(figure, handles, title="steps of RL")
    return figure


def draw_ladder(panel: Axes, ladder: Ladder, kind: str, colours: Mapping[int, ColorType]) -> None:
    """Draw the share over sizes, a line for each number of steps; the intervals lie side by side."""
    shares = [ladder.shares(size, kind) for size in range(len(ladder.arms))]
    for index, (point, colour) in enumerate(colours.items()):
        x = ladder.sizes * 1.025 ** (index - len(colours) / 2)
        estimates = [of_size[point] for of_size in shares]
        lo, hi = zip(*(estimate.interval() for estimate in estimates), strict=True)
        values = [estimate.value for estimate in estimates]
        plot.intervals(panel, x, values, np.maximum(lo, 0), np.minimum(hi, 1), colour, joined=True)
    panel.set_xscale("log")
    panel.set_xticks(ladder.sizes, [size_name(measured) for measured in ladder.arms])
    panel.minorticks_off()
    panel.set_ylim(0, None)
