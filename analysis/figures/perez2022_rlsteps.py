"""How often answers match the user's stated view, over model size and steps of RL (2212.09251)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.behaviour import answer_shares
from analysis.behaviour.answer_shares import Key, Measured, Shares, prompt_shares, scored_answers
from analysis.behaviour.doses import dose
from analysis.best_of_n.curves import Curves
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import common_seeds, study
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, by_estimate, equivalent, thresholds
from rlhf_lab.functional.intervals import Estimate, floored
from rlhf_lab.store.records import MissingRuns, Run

NAME = "perez2022_rlsteps"
SWEEPS = ("perez2022_rlsteps",)

Floats = NDArray[np.float64]
Rule = Mapping[str, float]

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
FEWEST = 3  # sizes of a slope
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
        return np.array([one.arm.policy_parameters for one in self.arms])

    def matching(self, size: int, kind: str = BOTH) -> Floats:
        """(R, B, K): the share of claims that equal what was stated, of one size."""
        of = self.arms[size]
        places = np.searchsorted(of.arm.curves[0].points, self.steps)
        kinds = tuple(BELIEFS) if kind == BOTH else (kind,)
        return np.mean([of.draws("matches", one)[:, :, places] for one in kinds], axis=0)

    def shares(self, size: int, kind: str = BOTH) -> list[Estimate]:
        """The share at each step."""
        return self._estimates(size, self.matching(size, kind))

    def moved(self, size: int) -> list[Estimate]:
        """The share at each step but the first minus that of SFT."""
        found = self.matching(size)
        return self._estimates(size, found[:, :, 1:] - found[:, :, :1])

    def _estimates(self, size: int, found: Floats) -> list[Estimate]:
        return [floored(Estimate.of(one.T), self.questions(size)) for one in np.moveaxis(found, 2, 0)]

    def slope(self, place: int, kind: str = BOTH) -> Estimate:
        """Of the share on log10 of the size, by least squares within each replicate."""
        seeds = common_seeds([one.arm for one in self.arms])
        numbers = [
            self.matching(size, kind)[[one.arm.seeds.index(of) for of in seeds], :, place].T
            for size, one in enumerate(self.arms)
        ]
        away = np.log10(self.sizes) - np.log10(self.sizes).mean()
        return Estimate.of(np.stack(numbers, axis=-1) @ away / (away**2).sum())

    def questions(self, size: int) -> int:
        """How many questions have beliefs of both kinds."""
        return min(self.arms[size].questions("matches", kind) for kind in BELIEFS)


def make(runs: Sequence[Run]) -> FigureResult:
    """The share over sizes, a line a number of steps, a column a labeler; wrong beliefs alone below."""
    own = [run for run in runs if run.choices["policy"] == "ppo" and dose(run) in WORDS]
    if {dose(run) for run in own} != set(WORDS):
        raise MissingRuns(
            "no PPO run against gold's reward model and one against a sycophantic labeler's are made"
        )
    read = study(own)
    found = ladders(answer_shares.measure_arms(read, of_run))
    table = pd.DataFrame([row for one in found.values() for row in _rows(one)])
    made = claims(found, thresholds(NAME))
    said = [*notes(found), *checks.kl_bound_notes(read)]
    return FigureResult(table, _fits(found), made, draw(found), said)


def of_run(run: Run, curves: Curves) -> dict[Key, Shares]:
    """Claims that equal the stated belief, of those that claim anything; answers without a claim; agreement in words,
    of answers that take a stance; accuracy where nothing was stated.
    """
    answers = scored_answers(run, curves.points, ("behaviour.keeps", "behaviour.claim", "behaviour.stance"))
    keeps, family, every = answers.number("behaviour.keeps"), answers.family, curves.questions
    same, told = (answers.means(mark.astype(float)) for mark in (keeps > 0, keeps != 0))
    stance = answers.number("behaviour.stance")
    agrees, takes = (answers.means(mark.astype(float)) for mark in (stance > 0, stance != 0))
    found: dict[Key, Shares] = {}
    for kind, name in BELIEFS.items():
        found["matches", kind] = prompt_shares(answers, every, family == name, same, told)
        found["no claim", kind] = prompt_shares(answers, every, family == name, 1 - told)
        found["agrees", kind] = prompt_shares(answers, every, family == name, agrees, takes)
    right = answers.means((answers.number("behaviour.claim") > 0).astype(float))
    return found | {RIGHT: prompt_shares(answers, every, np.isin(family, PLAIN), right)}


def ladders(found: Sequence[Measured]) -> dict[float, Ladder]:
    """Dose -> its policies by size; MissingRuns unless every size has both labelers."""
    by_dose = {of: [one for one in found if dose(one.arm.runs[0]) == of] for of in WORDS}
    sizes = {of: [_size(one) for one in arms] for of, arms in by_dose.items()}
    if sorted(sizes[GOLD]) != sorted(sizes[SYCOPHANTIC]):
        raise MissingRuns(
            f"policies against gold's reward model: {sizes[GOLD]}, against the other: {sizes[SYCOPHANTIC]}"
        )
    steps = set.intersection(*(set(one.arm.curves[0].points.tolist()) for one in found))
    if len(steps) < 2:
        raise ValueError(
            "the runs have no checkpoint in common but the first: policy.steps and policy.evaluations"
        )
    common = np.array(sorted(steps))
    return {
        of: Ladder(of, tuple(sorted(arms, key=lambda one: one.arm.policy_parameters)), common)
        for of, arms in by_dose.items()
    }


def _size(one: Measured) -> str:
    return one.arm.runs[0].choices["model"]


# --- claims -------------------------------------------------------------------------------------------------


def claims(found: Mapping[float, Ladder], limits: Thresholds) -> list[Claim]:
    """More by RL under the sycophantic labeler; alike over steps under gold; over sizes, both sides."""
    gold, other = found[GOLD], found[SYCOPHANTIC]
    made: list[Claim] = []
    for size in range(len(gold.arms)):
        made += [_raises(gold, other, size, limits["raises"]), _alike(gold, size, limits["alike"])]
    if len(gold.arms) < FEWEST:
        return made
    for ladder, place in ((gold, 0), (gold, -1), (other, -1)):
        made += _over_sizes(ladder, place, limits["grows"], limits["same_size"])
    return made


def _raises(gold: Ladder, other: Ladder, size: int, rule: Rule) -> Claim:
    seeds = common_seeds([one.arms[size].arm for one in (gold, other)])
    if not seeds:
        raise MissingRuns(f"{_size(gold.arms[size])}: the two labelers' runs have no seeds in common")
    rises = []
    for one in (other, gold):
        found = one.matching(size)[[one.arms[size].arm.seeds.index(of) for of in seeds]]
        rises.append((found[:, :, -1] - found[:, :, 0]).T)
    name = _size(gold.arms[size])
    return by_estimate(
        f"{name} policy: {gold.steps[-1]} steps of RL raise the share that matches the user's view more under a "
        "sycophantic labeler than under gold",
        floored(Estimate.of(rises[0] - rises[1]), gold.questions(size)),
        rule,
        gold.questions(size),
        unit=UNIT,
        subject=f"{name} policy",
        topic="RL raises it",
    )


def _alike(gold: Ladder, size: int, rule: Rule) -> Claim:
    """Of all steps: the one that is furthest from SFT is told; each has to lie within the margin."""
    moved = gold.moved(size)
    name, margin = _size(gold.arms[size]), rule["margin"]
    enough = moved[0].replicates >= rule["replicates"]
    each = [equivalent(one.interval(0.90), -margin, margin) if enough else None for one in moved]
    furthest = max(range(len(moved)), key=lambda place: abs(moved[place].value))
    claim = by_equivalence(
        f"{name} policy, gold: the share is similar at every number of RL steps, 0 included (furthest: "
        f"{gold.steps[furthest + 1]})",
        moved[furthest],
        -margin,
        margin,
        gold.questions(size),
        enough,
        unit=UNIT,
        subject=f"{name} policy",
        topic="similar over steps",
    )
    met = False if False in each else None if None in each else True
    return replace(claim, met=met, rule=f"{claim.rule}; of every step (intersection of equivalence tests)")


def _over_sizes(ladder: Ladder, place: int, grows: Rule, same: Rule) -> list[Claim]:
    """Contested, so both: it grows with size, it does not depend on it. One base model a size: conditional on it."""
    found, n = ladder.slope(place), min(ladder.questions(size) for size in range(len(ladder.arms)))
    where = f"{ladder.steps[place]} steps, {WORDS[ladder.dose]}"
    about: dict[str, Any] = {"unit": f"{UNIT} a tenfold size", "subject": where}
    growing = by_estimate(
        f"{where}: larger models match the user's view more often",
        found,
        grows,
        n,
        topic="grows with size",
        **about,
    )
    alike = by_equivalence(
        f"{where}: the share does not depend on the model's size",
        found,
        -same["margin"],
        same["margin"],
        n,
        found.replicates >= same["replicates"],
        topic="same at all sizes",
        **about,
    )
    return [
        replace(claim, conditional=True, rule=f"{claim.rule}; conditional on one base model of a size")
        for claim in (growing, alike)
    ]


def notes(found: Mapping[float, Ladder]) -> list[str]:
    """Both sides of what is contested, with what was measured; what is behind the share; what has no claim."""
    said = [
        "is sycophancy caused by RL or by scale? Perez et al. 2022: it grows with size and is there at 0 steps, alike "
        "over steps; counter-replications: a base model at chance, instruction-tuned ones far above it. A policy that "
        "knows the answer matches right beliefs without looking at them, and larger ones know more: slopes of wrong "
        "beliefs alone are in the table of fits. There is one base model and one SFT of a size: intervals over sizes "
        "are conditional on them"
    ]
    return said + [_told(one, size) for one in found.values() for size in range(len(one.arms))]


def _told(one: Ladder, size: int) -> str:
    of = one.arms[size]
    shares = {kind: one.shares(size, kind) for kind in BELIEFS}
    kinds = ", ".join(
        f"{kind} beliefs {steps[0].value:.2f} to {steps[-1].value:.2f}" for kind, steps in shares.items()
    )
    silent = np.mean([of.at(-1, "no claim", kind).value for kind in BELIEFS])
    right = [of.at(place, *RIGHT).value for place in (0, -1)]
    words = [of.at(place, "agrees", "wrong").value for place in (0, -1)]
    return (
        f"{_size(of)} policy, {WORDS[one.dose]}: {kinds}; right where nothing was stated {right[0]:.2f} to "
        f"{right[1]:.2f}; of stances on wrong beliefs {words[0]:.2f} to {words[1]:.2f} agree, in words; {silent:.2f} "
        "of the answers at the end make no claim and are counted apart"
    )


# --- tables -------------------------------------------------------------------------------------------------


def _rows(one: Ladder) -> Iterator[dict[str, Any]]:
    for size, of in enumerate(one.arms):
        about = {"dose": one.dose, "model": _size(of), "parameters": one.sizes[size]}
        for kind in (BOTH, *BELIEFS):
            for step, found in zip(one.steps.tolist(), one.shares(size, kind), strict=True):
                yield (
                    about
                    | {"number": "matches", "prompts": kind, "n_or_step": step}
                    | found.row("value")
                    | {"questions": one.questions(size), "replicates": found.replicates}
                )
        others = [key for key in KEYS if key[0] != "matches"]
        yield from (about | row for row in answer_shares.rate_rows(of, others))


def _fits(found: Mapping[float, Ladder]) -> pd.DataFrame:
    rows = []
    for one in found.values():
        for size, of in enumerate(one.arms):
            rise = one.moved(size)[-1]
            n, form = one.questions(size), f"{_size(of)} policy"
            rows.append(answer_shares.fit_row(of.arm, form, "rise from SFT to the last step", rise, n))
        if len(one.arms) < FEWEST:
            continue
        for kind in (BOTH, *BELIEFS):
            for place in (0, -1):
                n = min(one.questions(size) for size in range(len(one.arms)))
                form = f"{kind} beliefs, {WORDS[one.dose]}"
                parameter = f"slope on log10 size at step {one.steps[place]}"
                rows.append(
                    answer_shares.fit_row(one.arms[0].arm, form, parameter, one.slope(place, kind), n)
                )
    return pd.DataFrame(rows)


# --- ink ----------------------------------------------------------------------------------------------------


def draw(found: Mapping[float, Ladder]) -> Figure:
    """A column a labeler; above beliefs of both kinds, below wrong ones."""
    any_one = next(iter(found.values()))
    places = np.unique(np.linspace(0, len(any_one.steps) - 1, LINES).round().astype(int))
    colour = dict(zip(places.tolist(), theme.sizes(len(places)), strict=True))
    figure = theme.blank(theme.WIDTH * 0.75, 4.4)
    axes = figure.subplots(2, len(found), sharex=True, sharey="row", squeeze=False)
    for column, (of, one) in zip(axes.T, sorted(found.items(), reverse=True), strict=True):
        for panel, kind in zip(column, (BOTH, "wrong"), strict=True):
            _lines(panel, one, kind, colour)
        column[0].set_title(f"PPO, labels of {'a ' if of else ''}{WORDS[of]}")
        column[-1].set_xlabel("policy's non-embedding parameters")
    for panel, words in zip(axes[:, 0], ("right and wrong beliefs", "wrong beliefs"), strict=True):
        panel.set_ylabel(words)
    figure.supylabel("claims that match the user's view", fontsize=8)
    handles = [theme.key(str(any_one.steps[place]), hue, linewidth=2) for place, hue in colour.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), title="steps of RL")
    return figure


def _lines(panel: Axes, one: Ladder, kind: str, colour: Mapping[int, Any]) -> None:
    shares = [one.shares(size, kind) for size in range(len(one.arms))]
    for shift, (place, hue) in enumerate(colour.items()):
        x = one.sizes * 1.025 ** (shift - len(colour) / 2)  # so that intervals lie side by side
        of = [steps[place] for steps in shares]
        lo, hi = zip(*(estimate.interval() for estimate in of), strict=True)
        panel.vlines(x, np.maximum(lo, 0), np.minimum(hi, 1), color=hue, linewidth=0.9)
        panel.plot(x, [estimate.value for estimate in of], color=hue, linewidth=1.3, marker="o", markersize=3)
    panel.set_xscale("log")
    panel.set_xticks(one.sizes, [_size(of) for of in one.arms])
    panel.minorticks_off()
    panel.set_ylim(0, None)
