"""Reward models of one sweep on held-out comparisons: accuracy and log-loss by question, and differences of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.reward_models.calibration import agreement, log_loss
from analysis.reward_models.surface_guesses import column
from analysis.runs.arms import DRAWS, SEED
from analysis.statistics.resampling import original, resamples, weights_of
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import Run

Floats = NDArray[np.float64]

NUMBERS = {"accuracy": agreement, "log_loss": log_loss}
LAST = 0.5  # epochs at the end of training, over which its own loss is averaged

Seeds = tuple[int, int]  # of reward model and preferences


class Heldout(NamedTuple):
    """One reward model on the held-out pairs of its comparisons, against their labels."""

    questions: NDArray[np.int64]  # (C,) ascending
    pairs: Floats  # (C,) how many of each
    sums: Mapping[str, Floats]  # (C,) of accuracy, and of log-loss in nats, over them
    trained: int  # pairs it learned from
    prompts: int  # distinct ones among them
    training_loss: float  # nats a pair, while it learned, over the end of training

    def drawn(self, name: str) -> Floats:
        """(B,): the mean over pairs, as it is and in draws of questions."""
        draws = [original(1), *resamples(1, np.random.default_rng(SEED), DRAWS)]
        weights = weights_of(draws, len(self.questions))
        return (weights @ self.sums[name]) / (weights @ self.pairs)


class Group(NamedTuple):
    """Replicates of one way to learn."""

    found: Mapping[Seeds, Heldout]

    def estimate(self, name: str) -> Estimate:
        """Of accuracy or log-loss."""
        return Estimate.of(np.stack([one.drawn(name) for one in self.found.values()], axis=1))

    def less(self, other: Group, name: str) -> Estimate | None:
        """A number less that of another group, of the same seeds and questions; None without a pair."""
        common = [seeds for seeds in self.found if seeds in other.found]
        for seeds in common:
            if not np.array_equal(self.found[seeds].questions, other.found[seeds].questions):
                raise ValueError("reward models that are compared were judged on different questions")
        apart = [self.found[seeds].drawn(name) - other.found[seeds].drawn(name) for seeds in common]
        return Estimate.of(np.stack(apart, axis=1)) if apart else None


def group(runs: Sequence[Run]) -> Group:
    """Of runs with one reward model each that differ in their seeds."""
    return Group({seeds(run): heldout(run) for run in runs})


def seeds(run: Run) -> Seeds:
    """Of the reward model and of its comparisons."""
    return run.config["rm"]["seed"], run.config["preferences"]["seed"]


def heldout(run: Run) -> Heldout:
    """From the store; ValueError where the proxy is not one reward model."""
    keys = list(run.reward_models())
    if len(keys) != 1:
        raise ValueError(f"run {run.key}: {len(keys)} reward models behind the proxy, expected one")
    pairs = run.comparisons(keys[0])
    apart = np.array(pairs["split"].to_pylist()) == "heldout"
    question, place = np.unique(pairs["question_id"].to_numpy()[apart], return_inverse=True)
    reward = (column(pairs, "chosen_reward") - column(pairs, "rejected_reward"))[apart]
    label = column(pairs, "label")[apart]
    sums = {name: np.bincount(place, number(reward, label)).astype(float) for name, number in NUMBERS.items()}
    prompts = len(np.unique(pairs["prompt_id"].to_numpy()[~apart]))
    counts = np.bincount(place).astype(float)
    return Heldout(question, counts, sums, int((~apart).sum()), prompts, training_loss(run))


def training_loss(run: Run) -> float:
    """Mean of what the trainer told over the last half epoch; NaN where it told nothing then."""
    lines = run.stage_metrics("reward_model")
    end = max((line["step"] for line in lines), default=0)
    since = end * (1 - LAST / run.config["rm"]["epochs"])
    told = [line["loss"] for line in lines if "loss" in line and line["step"] > since]
    return float(np.mean(told)) if told else float("nan")
