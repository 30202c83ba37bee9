"""A job of a sweep before it runs, and the words for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlhf_lab.config.experiment import Experiment
from rlhf_lab.store.artifacts import Node


@dataclass(frozen=True)
class Job:
    """One distinct job: what was asked for, and the graph of stages that makes it."""

    index: int
    overrides: tuple[str, ...]
    choices: Mapping[str, str]
    config: Mapping[str, Any]
    experiment: Experiment
    leaf: Node


class Words:
    """What tells the jobs of a sweep apart: the overrides that some have and others have not."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._count = len(jobs)
        self._holders: dict[str, set[int]] = {}  # override -> the jobs that have it
        for job in jobs:
            for text in job.overrides:
                self._holders.setdefault(text, set()).add(job.index)

    def label(self, job: Job) -> str:
        """What tells a job from the others."""
        return self.telling([job]) or f"policy={job.choices['policy']} rm={job.choices['rm']}"

    def telling(self, sharers: Sequence[Job]) -> str:
        """The overrides that `sharers` have in common and not all jobs of the sweep have.

        A value that every job with one of their options has, such as policy.steps of all PPO jobs, tells no
        more than the option does.
        """
        common = set.intersection(*(set(job.overrides) for job in sharers))
        shared = [text for text in sharers[0].overrides if text in common]
        own = [text for text in shared if len(self._holders[text]) < self._count]
        options = [text for text in own if "." not in text.partition("=")[0]]

        def told(text: str) -> bool:
            brings = (self._holders[option] <= self._holders[text] for option in options)
            return text not in options and any(brings)

        return " ".join(text for text in own if not told(text))
