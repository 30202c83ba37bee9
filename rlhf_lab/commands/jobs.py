"""The jobs of a sweep: which there are, what tells them apart, and whether each can run.

A stage may offer `check(config, inputs)`, `inputs` being the configurations of what it is made from. It is cheap, and
raises ValueError in one line when the stage would refuse them.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override

from rlhf_lab.commands.errors import Mistake
from rlhf_lab.commands.refusals import refuse_twice
from rlhf_lab.config.experiment import Experiment
from rlhf_lab.models import devices
from rlhf_lab.pipeline.execution import missing
from rlhf_lab.stages import registry
from rlhf_lab.store.artifacts import Node, Store

LOCAL = ("workers", "basic", "joblib", "submitit_local")  # launchers whose workers are on this machine
Parse = Callable[[list[str]], list[Override]]
Axes = dict[str, list[str]]  # key as written, with + or package -> its values as text


@dataclass(frozen=True)
class Job:
    """One distinct job: its overrides and configuration, and the last stage of the graph that makes it."""

    index: int
    overrides: tuple[str, ...]
    choices: Mapping[str, str]
    config: Mapping[str, Any]
    experiment: Experiment
    leaf: Node


class Words:
    """Labels for the jobs of a sweep: the overrides that some jobs have and others have not."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._count = len(jobs)
        self._holders: dict[str, set[int]] = {}  # override -> the jobs that have it
        for job in jobs:
            for text in job.overrides:
                self._holders.setdefault(text, set()).add(job.index)

    def label(self, job: Job) -> str:
        """Return the overrides that distinguish a job from the others, or its method and reward model."""
        return self.telling([job]) or f"policy={job.choices['policy']} rm={job.choices['rm']}"

    def telling(self, sharers: Sequence[Job]) -> str:
        """Return the overrides that `sharers` have in common and that not all jobs of the sweep have.

        A value that every job with one of their options has, such as policy.steps of all PPO jobs, is left out: it says
        no more than the option does.
        """
        common = set.intersection(*(set(job.overrides) for job in sharers))
        shared = [text for text in sharers[0].overrides if text in common]
        partial = [text for text in shared if len(self._holders[text]) < self._count]
        options = [text for text in partial if "." not in text.partition("=")[0]]

        def comes_with_an_option(text: str) -> bool:
            """Return whether every job that has this text has one of the options, too."""
            return text not in options and any(
                self._holders[option] <= self._holders[text] for option in options
            )

        return " ".join(text for text in partial if not comes_with_an_option(text))


def axes(overrides: Sequence[Override]) -> Axes:
    """Return the key of each override with all values that it sweeps over, or with its one value."""
    refuse_twice(overrides)
    return {override.get_key_element(): _values(override) for override in overrides}


def only(value: str) -> str:
    """Return `value` written as a sweep over that value alone."""
    return f"choice({value})"


def _values(override: Override) -> list[str]:
    written = (override.input_line or "").partition("=")[2]
    if not override.is_sweep_override():
        return [written]
    if not override.is_discrete_sweep():
        key = override.get_key_element()
        raise ValueError(f"{override.input_line}: a sweep needs a list of values, such as {key}=0,0.1")
    try:
        values = [str(value) for value in override.sweep_string_iterator()]
    except ZeroDivisionError:  # a range with a step of 0
        values = []
    if not values:
        raise ValueError(f"{override.input_line}: a sweep over no value: give one or more, such as a,b")
    single = len(values) == 1 and written.startswith("choice(")
    return [written.removeprefix("choice(").removesuffix(")")] if single else values


def narrow(cells: Sequence[Axes], given: Axes) -> list[Axes]:
    """Return the cells narrowed by the overrides that are `given` on the command line.

    Where some cells have a given value, each cell keeps only the given ones of its values, and is left out if it has
    none. A key or value that no cell has is added to all of them.
    """
    for key, values in given.items():
        known = {value for cell in cells for value in cell.get(key, ())}
        kept = [[v for v in values if v in cell.get(key, values) or v not in known] for cell in cells]
        cells = [cell | {key: left} for cell, left in zip(cells, kept, strict=True) if left]
    return list(cells)


def overrides_of_jobs(
    params: Mapping[str, str], cells: Sequence[str], given: Sequence[str], parse: Parse
) -> list[list[str]]:
    """Return the overrides of every job: for each cell the product of `params`, the cell and what is `given`."""
    common = axes(parse([f"{key}={value}" for key, value in params.items()]))
    all_cells = [common | axes(parse(shlex.split(cell))) for cell in cells] or [common]
    jobs: list[list[str]] = []
    for cell in narrow(all_cells, axes(parse(list(given)))):
        pairs = [[f"{key}={value}" for value in values] for key, values in cell.items()]
        jobs += [list(job) for job in itertools.product(*pairs)]
    return jobs


def check(jobs: Sequence[Job], launcher: str, store: Store) -> None:
    """Check every stage that the sweep is to make; Mistake says what is wrong and which job asks for it."""
    seen: set[str] = set()
    for job in jobs:
        try:
            if launcher in LOCAL:
                devices.check(job.experiment.runtime.device)
            forced = job.experiment.runtime.force
            for node in job.leaf.walk() if forced else missing(job.leaf, store):
                if node.key not in seen:
                    seen.add(node.key)
                    _check(node)
        except ValueError as error:
            where = f" (job: {' '.join(job.overrides)})" if len(jobs) > 1 else ""
            raise Mistake(f"{error}{where}") from error


def _check(node: Node) -> None:
    check = getattr(registry.module(node.name), "check", None)
    if check is not None:
        check(node.config, {name: upstream.config for name, upstream in node.inputs.items()})
