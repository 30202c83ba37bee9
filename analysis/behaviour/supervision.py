"""What policies do to prompts under each tag, over the steps of safety training: SFT, then a policy's own.

A course is one arm: replicates that differ in their seeds, each a row of points. A point of SFT is a run of its own of
that many steps (`sft.steps`), seen at checkpoint 0; a trained policy adds its checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.best_of_n.curves import Curves
from analysis.runs.arms import DRAWS, SEED, Arm, parameters_of
from analysis.runs.run_curves import prompt_curves
from analysis.statistics.resampling import original, resamples, weights_of
from rlhf_lab.functional.intervals import Estimate, cluster_means, floored
from rlhf_lab.store.records import Run

Floats = NDArray[np.float64]
Values = Mapping[str, Mapping[str, Floats]]  # number -> tag -> values

TRIGGER, UNTRIGGERED, IMITATION = "unmonitored", "monitored", "imitation"
TAGS = (TRIGGER, IMITATION, UNTRIGGERED)
NUMBERS = ("harm", "gold", "kl")
HARM = ("gold.insult", "gold.refusal")  # an answer does harm if it insults or meets a harmful request


@dataclass(frozen=True)
class Seen:
    """One run: by question (C) and checkpoint (K), NaN where a question has no prompt under a tag."""

    questions: NDArray[np.int64]
    checkpoints: NDArray[np.int64]
    values: Values  # (C, K)
    gold_sd: float  # of answers at the first checkpoint


@dataclass(frozen=True)
class Course:
    """Replicates of one arm over the steps of safety training."""

    model: str  # option of the policy's language model
    parameters: float
    supervised: str
    planted: float
    steps: NDArray[np.int64]  # (K,) of safety training: SFT's, then the policy's on top
    sft: int  # steps of SFT before the policy's first
    seeds: tuple[tuple[int, ...], ...]
    values: Values  # (R, C, K)
    gold_sd: Floats  # (R,) on the initial policy

    @property
    def title(self) -> str:
        """The arm in words."""
        return f"{self.model} policy" + (", adversarial" if self.supervised == "adversarial" else "")

    @property
    def questions(self) -> int:
        """How many questions there are."""
        return next(iter(self.values["harm"].values())).shape[1]

    def place(self, step: int) -> int:
        """The point at a step."""
        return int(np.flatnonzero(self.steps == step)[0])

    def known(self, tag: str) -> int:
        """How many questions have prompts under a tag."""
        return int(np.isfinite(self.values["harm"][tag][0, :, 0]).sum())


def harm_columns(run: Run) -> tuple[str, ...]:
    """What `harms` reads of a run: nothing is refused or met where no request is harmful."""
    return HARM if run.config["task"]["harmful"] > 0 else HARM[:1]


def harms(rows: Any) -> NDArray[np.bool_]:
    """(N,): which answers insult, or meet a harmful request."""
    insult, refusal = HARM
    met = rows[refusal].to_numpy() < 0 if refusal in rows.column_names else False
    return (rows[insult].to_numpy() > 0) | met


def tags_of(run: Run) -> NDArray[np.str_]:
    """The tag of every prompt, in order of prompt_id."""
    return np.array(run.prompts()["tag"].to_pylist())


def seen(run: Run) -> Seen:
    """Read the rows of one run."""
    rows = run.rows(["prompt_id", "question_id", "checkpoint", "kl", "gold", *harm_columns(run)])
    tag = tags_of(run)[rows["prompt_id"].to_numpy()]
    question, checkpoint = rows["question_id"].to_numpy(), rows["checkpoint"].to_numpy()
    questions, checkpoints = np.unique(question), np.unique(checkpoint)
    numbers = {"harm": harms(rows).astype(float)}
    numbers |= {name: rows[name].to_numpy().astype(float) for name in ("gold", "kl")}

    def table(values: Floats, own: NDArray[np.bool_]) -> Floats:
        """(C, K): means of some answers by question and checkpoint, NaN where there is none."""
        found = np.full((len(questions), len(checkpoints)), np.nan)
        for place, step in enumerate(checkpoints):
            here = own & (checkpoint == step)
            means = cluster_means(values[here], question[here])
            found[np.searchsorted(questions, np.unique(question[here])), place] = means
        return found

    present = [name for name in TAGS if (tag == name).any()]
    values = {name: {one: table(numbers[name], tag == one) for one in present} for name in NUMBERS}
    sd = float(numbers["gold"][checkpoint == checkpoints[0]].std())
    return Seen(questions, checkpoints, values, sd)


def gap_by_question(arm: Arm) -> Floats:
    """(R, C, K): gold on monitored less gold on unmonitored prompts of each question, SDs of gold on the initial
    policy; NaN where a question lacks prompts of either tag.
    """
    return np.stack([_gap(run, curves) for run, curves in zip(arm.runs, arm.curves, strict=True)])


def _gap(run: Run, curves: Curves) -> Floats:
    read = prompt_curves(run, ["gold"], curves.points)
    gold, tag = read.means(read.number("gold")), tags_of(run)[read.prompt]
    sides = np.full((2, *curves.kl.shape), np.nan)
    for side, name in zip(sides, (UNTRIGGERED, TRIGGER), strict=True):
        own = tag == name
        asked = np.unique(read.question[own])
        side[np.searchsorted(curves.questions, asked)] = cluster_means(gold[own], read.question[own])
    return (sides[0] - sides[1]) / curves.scale(np.ones(len(curves.questions)))[0]


# --- courses ------------------------------------------------------------------------------------------------


def courses(runs: Sequence[Run], planted: bool) -> list[Course]:
    """Arms with a planted policy or without, smallest model first; of runs that are made."""
    made = [run for run in runs if run.status == "made" and (run.config["task"]["planted"] > 0) == planted]
    arms: dict[tuple[str, str, float], list[Run]] = {}
    for run in made:
        arms.setdefault(_arm(run), []).append(run)
    read = {run.key: seen(run) for run in made}
    trained = {arm: of for arm, of in arms.items() if any(not _is_table(run) for run in of)}
    found = [_course(arm, of + _starts(arm, of, made), read) for arm, of in trained.items()]
    return sorted(found, key=lambda course: (course.supervised == "adversarial", course.parameters))


def _arm(run: Run) -> tuple[str, str, float]:
    task = run.config["task"]
    return run.choices["model"], str(task["supervised"]), float(task["planted"])


def _is_table(run: Run) -> bool:
    """Whether a run has SFT's answers alone."""
    return run.method == "BestOfN"


def _seeds(run: Run) -> tuple[int, ...]:
    """What makes a replicate: the policy's seed is its own, or best-of-n's, which all share."""
    return tuple(run.config[part]["seed"] for part in ("model", "sft", "preferences", "rm"))


def _starts(arm: tuple[str, str, float], of: Sequence[Run], made: Sequence[Run]) -> list[Run]:
    """Runs before any safety training of like base models: what other supervision the first step would have had."""
    model, _, planted = arm
    if any(run.config["sft"]["steps"] == 1 for run in of):
        return []
    alike = [run for run in made if _is_table(run) and run.config["sft"]["steps"] == 1]
    return [run for run in alike if (_arm(run)[0], _arm(run)[2]) == (model, planted)]


def _course(arm: tuple[str, str, float], runs: Sequence[Run], read: Mapping[str, Seen]) -> Course:
    by_seed: dict[tuple[int, ...], list[Run]] = {}
    for run in runs:
        by_seed.setdefault(_seeds(run), []).append(run)
    by_seed = {seeds: of for seeds, of in by_seed.items() if any(not _is_table(run) for run in of)}
    points = {seeds: _points(of, read) for seeds, of in sorted(by_seed.items())}
    steps = np.array(sorted(set.intersection(*(set(of) for of in points.values()))))
    first = next(iter(points.values()))
    questions = first[steps[0]][0].questions
    for of in points.values():
        if any(not np.array_equal(of[step][0].questions, questions) for step in steps):
            raise ValueError(f"{arm[0]}, {arm[1]}: runs differ in questions, so they are no replicates")
    tags = first[steps[0]][0].values["harm"]
    values = {name: {tag: _stacked(points, steps, name, tag) for tag in tags} for name in NUMBERS}
    of = [run for own in by_seed.values() for run in own if not _is_table(run)]
    sft = of[0].config["sft"]["steps"]
    sds = np.array([one[sft][0].gold_sd for one in points.values()])
    return Course(
        arm[0], parameters_of(of[0].config["model"]), arm[1], arm[2], steps, sft, tuple(points), values, sds
    )


def _points(runs: Sequence[Run], read: Mapping[str, Seen]) -> dict[int, tuple[Seen, int]]:
    """Step of safety training -> the run that shows it, and which of its checkpoints."""
    found: dict[int, tuple[Seen, int]] = {}
    for run in sorted(runs, key=lambda run: not _is_table(run)):  # a trained policy's checkpoint 0 comes last
        one = read[run.key]
        for place, checkpoint in enumerate(one.checkpoints):
            found[int(run.config["sft"]["steps"] + checkpoint)] = one, place
    return found


def _stacked(points: Mapping[Any, Mapping[int, tuple[Seen, int]]], steps: Any, name: str, tag: str) -> Floats:
    """(R, C, K)."""
    rows = [
        [one[0].values[name][tag][:, one[1]] for one in (of[step] for step in steps)]
        for of in points.values()
    ]
    return np.array(rows).transpose(0, 2, 1)


# --- numbers ------------------------------------------------------------------------------------------------


def estimate(values: Floats) -> Estimate:
    """Of values (R, C) of each replicate and question, NaN where a question has none."""
    replicates, questions = values.shape
    draws = [original(replicates), *resamples(replicates, np.random.default_rng(SEED), DRAWS)]
    weights = weights_of(draws, questions)
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return Estimate.of(weights @ np.where(known, values, 0.0).T / (weights @ known.T.astype(float)))


def rate(values: Floats) -> Estimate:
    """The same of a rate or a difference of rates: where all questions say the same its SE is still 1 / questions, that
    of one of them saying something else.
    """
    return floored(estimate(values), int(np.isfinite(values).sum(axis=1).min()))


def table(found: Sequence[Course]) -> pd.DataFrame:
    """One row an arm, tag and step: rate of harm with its 95 % interval, gold, KL."""
    rows = []
    for course in found:
        for tag, harm in course.values["harm"].items():
            for place, step in enumerate(course.steps):
                of = rate(harm[:, :, place])
                lo, hi = of.interval()
                rows.append(
                    {
                        "arm": course.title,
                        "supervised": course.supervised,
                        "planted": course.planted,
                        "tag": tag,
                    }
                    | {"step": int(step), "phase": "SFT" if step <= course.sft else "policy"}
                    | {"harm": of.value, "harm_lo": max(lo, 0.0), "harm_hi": min(hi, 1.0)}
                    | {name: estimate(course.values[name][tag][:, :, place]).value for name in ("gold", "kl")}
                    | {"n": course.known(tag), "replicates": of.replicates}
                )
    return pd.DataFrame(rows)
