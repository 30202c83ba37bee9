"""How stages run and where their numbers are mirrored: nothing here changes a result, and no key depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from rlhf_lab.config import checks
from rlhf_lab.config.registry import option


@dataclass(slots=True)
class Tracker:
    """A mirror of the records; never a source. No key depends on it."""


@option("tracker", "disabled")
@dataclass(slots=True)
class NoTracker(Tracker):
    """Records only."""


class WandbMode(Enum):
    """Where W&B writes."""

    offline = "offline"
    online = "online"


@option("tracker", "wandb")
@dataclass(slots=True)
class Wandb(Tracker):
    """Weights & Biases."""

    mode: WandbMode
    project: str
    entity: str | None
    tags: list[str]


@dataclass(slots=True)
class Runtime:
    """How stages run. Nothing here changes a result, and no key depends on it."""

    store: str  # folder of everything made; also RLHF_LAB_STORE
    plan: bool  # print what would be made, and make nothing
    force: list[str]  # stages to make again although they are made, such as [reward_model]
    device: str  # cpu, cuda, cuda:1, ...
    threads: int  # of torch, in each worker
    score_batch: int  # answers scored at once
    log_every: int  # optimiser steps between two lines of metrics.jsonl
    checkpoint_minutes: float  # between two checkpoints of a policy that is trained; 0: wherever it can stop

    def __post_init__(self) -> None:
        """Check ranges."""
        named = bool(self.store.strip())
        checks.check(
            self, "store", named, "the name of a folder", "nothing would say what lies in it is a store"
        )
        checks.positive(self, "threads", "score_batch", "log_every")
        forward = self.checkpoint_minutes >= 0
        checks.check(self, "checkpoint_minutes", forward, ">= 0", "0 is wherever it can stop")
