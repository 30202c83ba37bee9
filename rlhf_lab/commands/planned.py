"""A job of a sweep before it runs, and the words for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlhf_lab.config import Experiment
from rlhf_lab.store import Node


@dataclass(frozen=True)
class Job:
    """One distinct job: what was asked for, and the graph of stages that makes it."""

    index: int
    overrides: tuple[str, ...]
    choices: Mapping[str, str]
    config: Mapping[str, Any]
    experiment: Experiment
    leaf: Node


def label(job: Job, jobs: Sequence[Job]) -> str:
    """What tells a job from the others of its sweep."""
    return telling([job], jobs) or f"policy={job.choices['policy']} rm={job.choices['rm']}"


def telling(sharers: Sequence[Job], jobs: Sequence[Job]) -> str:
    """The overrides that `sharers` have in common and not all jobs of the sweep have.

    A value that every job with one of their options has, such as policy.steps of all PPO jobs, tells no more
    than the option does.
    """
    own = [text for text in sharers[0].overrides if text in _common(sharers) - _common(jobs)]
    options = [text for text in own if "." not in text.partition("=")[0]]

    def holders(text: str) -> set[int]:
        return {job.index for job in jobs if text in job.overrides}

    def told(text: str) -> bool:
        return text not in options and any(holders(option) <= holders(text) for option in options)

    return " ".join(text for text in own if not told(text))


def _common(jobs: Sequence[Job]) -> set[str]:
    return set.intersection(*(set(job.overrides) for job in jobs))
