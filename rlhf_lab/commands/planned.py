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


def common(jobs: Sequence[Job]) -> set[str]:
    """The overrides that all jobs share."""
    return set.intersection(*(set(job.overrides) for job in jobs))


def label(job: Job, jobs: Sequence[Job]) -> str:
    """What tells a job from the others of its sweep."""
    shared = common(jobs)
    own = [text for text in job.overrides if text not in shared]
    return " ".join(own) or f"policy={job.choices['policy']} rm={job.choices['rm']}"
