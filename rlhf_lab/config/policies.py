"""Ways to optimise against the proxy reward: what all have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf_lab.config import ranges


@dataclass(slots=True)
class Policy:
    """A way to optimise against the proxy reward, and how it is evaluated on held-out prompts."""

    seed: int
    prompts: int  # held-out prompts sampled at every evaluation; all there are if fewer
    samples: int  # answers for each of them at every evaluation

    STAGE: ClassVar[str] = ""
    NEEDS: ClassVar[tuple[str, ...]] = ("proxy",)  # beside task and sft: the reward model, the pairs
    USES_GOLD: ClassVar[bool] = False  # whether the true reward has a say in what is chosen

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.seed(self)
        ranges.positive(self, "prompts", "samples")
