"""Reward models of one sweep on held-out comparisons: accuracy and log-loss by question, and differences of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.reward_models.calibration import agreement, log_loss
from analysis.reward_models.surface_guesses import column
from analysis.runs import configuration
from analysis.runs.arms import DRAWS, SEED
from analysis.statistics.resampling import original, resamples, weights_of
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import Run

Floats = NDArray[np.float64]

NUMBERS = {"accuracy": agreement, "log_loss": log_loss}
LAST = 0.5  # epochs at the end of training, over which the training loss is averaged

Seeds = tuple[int, ...]  # of the reward model and of all that it is made of


class Heldout(NamedTuple):
    """One reward model on the held-out pairs of its comparisons, against their labels."""

    questions: NDArray[np.int64]  # (C,) ascending
    pairs: Floats  # (C,) how many of each question
    sums: Mapping[str, Floats]  # (C,) of accuracy, and of log-loss in nats, over them
    trained: int  # pairs that it learned from
    prompts: int  # distinct ones among them
    training_loss: float  # nats a pair, over the end of training

    def drawn(self, name: str) -> Floats:
        """(B,): the mean over pairs, as it is and in draws of questions."""
        draws = [original(1), *resamples(1, np.random.default_rng(SEED), DRAWS)]
        weights = weights_of(draws, len(self.questions))
        return (weights @ self.sums[name]) / (weights @ self.pairs)


class Group(NamedTuple):
    """Replicates of one way to train a reward model."""

    replicates: Mapping[Seeds, Heldout]

    def estimate(self, name: str) -> Estimate:
        """Return the accuracy or the log-loss."""
        return Estimate.of(np.stack([model.drawn(name) for model in self.replicates.values()], axis=1))

    def less(self, other: Group, name: str) -> Estimate | None:
        """Return a number less that of another group, paired by seeds and question; None without a pair."""
        common = [seeds for seeds in self.replicates if seeds in other.replicates]
        differences = []
        for seeds in common:
            first, second = self.replicates[seeds], other.replicates[seeds]
            if not np.array_equal(first.questions, second.questions):
                raise ValueError("reward models that are compared were judged on different questions")
            differences.append(first.drawn(name) - second.drawn(name))
        return Estimate.of(np.stack(differences, axis=1)) if differences else None


def group(runs: Sequence[Run]) -> Group:
    """Return the reward models of runs that have one each and differ in their seeds."""
    return Group({_seeds(run): heldout(run) for run in runs})


def _seeds(run: Run) -> Seeds:
    seeds = configuration.seeds(run)
    return tuple(seed for key, seed in sorted(seeds.items()) if not configuration.within(key, ["policy"]))


def heldout(run: Run) -> Heldout:
    """Return what the store has of a run's reward model; raises ValueError where the proxy is not one model."""
    keys = list(run.reward_models())
    if len(keys) != 1:
        raise ValueError(f"run {run.key}: {len(keys)} reward models behind the proxy, expected one")
    pairs = run.comparisons(keys[0])
    is_heldout = np.array(pairs["split"].to_pylist()) == "heldout"
    questions, place = np.unique(pairs["question_id"].to_numpy()[is_heldout], return_inverse=True)
    reward = (column(pairs, "chosen_reward") - column(pairs, "rejected_reward"))[is_heldout]
    label = column(pairs, "label")[is_heldout]
    return Heldout(
        questions=questions,
        pairs=np.bincount(place).astype(float),
        sums={
            name: np.bincount(place, number(reward, label)).astype(float) for name, number in NUMBERS.items()
        },
        trained=int((~is_heldout).sum()),
        prompts=len(np.unique(pairs["prompt_id"].to_numpy()[~is_heldout])),
        training_loss=training_loss(run),
    )


def training_loss(run: Run) -> float:
    """Return the mean of the logged training loss over the last half epoch; NaN where none was logged then."""
    lines = run.stage_metrics("reward_model")
    end = max((line["step"] for line in lines), default=0)
    since = end * (1 - LAST / run.config["rm"]["epochs"])
    losses = [line["loss"] for line in lines if "loss" in line and line["step"] > since]
    return float(np.mean(losses)) if losses else float("nan")
