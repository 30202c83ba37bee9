"""How stages run and where their numbers are mirrored: nothing here changes a result, and no key depends on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from rlhf_lab.config import checks
from rlhf_lab.config.registry import option

MOST_THREADS = 1024
FORBIDDEN = "/\\#?%:"  # in the name of a project of W&B


@dataclass(slots=True)
class Tracker:
    """A mirror of the records in another tool; it is never read, and no key depends on it."""


@option("tracker", "disabled")
@dataclass(slots=True)
class NoTracker(Tracker):
    """Records only."""


class WandbMode(Enum):
    """Where W&B writes."""

    offline = "offline"  # to a local folder
    online = "online"  # to its server


@option("tracker", "wandb")
@dataclass(slots=True)
class Wandb(Tracker):
    """Weights & Biases."""

    mode: WandbMode  # Where W&B writes.
    project: str  # Project of the runs.
    entity: str | None  # User or team; `null` is W&B's own default.
    tags: list[str]  # Tags of the runs.

    def __post_init__(self) -> None:
        """Check names."""
        named = bool(self.project) and not set(self.project) & set(FORBIDDEN)
        checks.check(self, "project", named, f"a name without any of {FORBIDDEN}", "W&B refuses it")


@dataclass(slots=True)
class Runtime:
    """How stages run. Nothing here changes a result, and no key depends on it."""

    store: str  # Folder of everything that is made; also set by the environment variable RLHF_LAB_STORE.
    plan: bool  # Whether the command only prints what would be made.
    # Stages to make again although they are made, with all that was made from them, such as `[reward_model]`.
    force: list[str]
    device: str  # Device of torch: cpu, cuda, cuda:1, ...
    threads: int  # Number of torch's threads in each worker.
    score_batch: int  # Number of answers that are scored at once.
    log_every: int  # Number of optimiser steps between two lines of metrics.jsonl.
    # Minutes between two checkpoints of a policy that is trained, which is the most that a kill loses; 0 is
    # as often as possible.
    checkpoint_minutes: float

    def __post_init__(self) -> None:
        """Check ranges."""
        named = bool(self.store.strip())
        checks.check(self, "store", named, "the name of a folder", "an empty name is no folder")
        checks.positive(self, "threads", "score_batch", "log_every")
        checks.check(
            self, "threads", self.threads <= MOST_THREADS, f"<= {MOST_THREADS}", "each is a real thread"
        )
        forward = 0 <= self.checkpoint_minutes < math.inf
        checks.check(self, "checkpoint_minutes", forward, ">= 0 and finite", "0 is as often as possible")
