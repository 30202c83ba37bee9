"""What is done to the model between SFT and everything after it."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_lab.config import checks
from rlhf_lab.config.registry import option
from rlhf_lab.config.tasks import SyntheticAssistant, Task


@dataclass(slots=True)
class Intervention:
    """Further fine-tuning of the SFT model; its result is the initial policy and the KL reference."""

    def check(self, task: Task) -> None:
        """ValueError where this cannot be done on `task`."""


@option("intervention", "none")
@dataclass(slots=True)
class NoIntervention(Intervention):
    """No intervention: the SFT model is the initial policy."""


@option("intervention", "synthetic_data")
@dataclass(slots=True)
class SyntheticData(Intervention):
    """Examples in which what a user believes says nothing of what is true, mixed with demonstrations
    (2308.03958).
    """

    # Share of generated examples; the rest is demonstrations as SFT saw them. With 0 there is as much fine-
    # tuning without examples.
    share: float
    filter: bool  # Whether only questions are kept whose answer the model already knows.
    steps: int  # Number of optimiser steps.
    batch: int  # Number of examples in a step.
    lr: float  # Learning rate.
    seed: int  # Seed of the examples and of their order.

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.seed(self)
        checks.share(self, "share")
        checks.positive(self, "steps", "batch", "lr")

    def check(self, task: Task) -> None:
        """ValueError unless there are users with beliefs: the embedded task, without tags."""
        if not isinstance(task, SyntheticAssistant):
            raise ValueError(
                f"intervention=synthetic_data makes examples about questions of the embedded task, and the task is "
                f"{type(task).__name__}: use intervention=none"
            )
        if task.tags:
            raise ValueError(
                "intervention=synthetic_data makes prompts without a tag, and task.tags=true marks every prompt: use "
                "intervention=none, or a task without tags"
            )
