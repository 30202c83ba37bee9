"""Settings of the models that tests train, and random answers for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from rlhf_lab.config.models import (
    Half,
    Model,
    Rankings,
    RewardInit,
    RewardLoss,
    RewardModel,
    RewardTraining,
    ScratchModel,
)

PLAIN: dict[str, Any] = {
    "init": RewardInit.lm,
    "loss": RewardLoss.bradley_terry,
    "margin": 0.0,
    "smoothing": 0.0,
    "data_smoothing": 0.0,
    "center": 0.0,
    "dropout": 0.0,
    "frozen": False,
    "rankings": Rankings.whole,
    "half": Half.both,
    "epochs": 1,
    "batch": 8,
    "lr": 1e-2,
    "seed": 0,
    "head_seed": None,
}


def reward_training(**changed: Any) -> RewardTraining:
    """Return settings of Bradley-Terry training on all pairs, with `changed` instead of the defaults here."""
    return RewardTraining(**PLAIN | changed)


def reward_model(model: Model, **changed: Any) -> RewardModel:
    """Return the same settings for a reward model that starts from `model`."""
    return RewardModel(model=model, **PLAIN | changed)


def scratch(**changed: Any) -> ScratchModel:
    """Return settings of a language model of a few hundred weights, with `changed` instead of the defaults here."""
    values: dict[str, Any] = {
        "hidden": 16,
        "layers": 1,
        "heads": 2,
        "intermediate": 32,
        "init_sd": 0.02,
        "tied": True,
        "packed": True,
        "steps": 10,
        "batch": 8,
        "lr": 5e-3,
        "decay": 1.0,
        "seed": 0,
    }
    return ScratchModel(**values | changed)


def words(rng: np.random.Generator, length: int = 5) -> list[int]:
    """Return an answer of random words of the tiny vocabulary, and EOS."""
    return [*rng.integers(6, 16, size=length).tolist(), 2]
