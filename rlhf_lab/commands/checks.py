"""What can be told to fail before the first stage runs: devices, data, checkpoints, each looked at once.

A stage may offer `check(config, inputs)`, `inputs` being the configurations of what it is made from: cheap, and
ValueError in one line when the stage would refuse them.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_lab.commands.mistakes import Mistake
from rlhf_lab.commands.planned import Job
from rlhf_lab.models import devices
from rlhf_lab.pipeline.execution import missing
from rlhf_lab.stages import registry
from rlhf_lab.store.artifacts import Node, Store

LOCAL = ("workers", "basic", "joblib", "submitit_local")  # launchers whose workers are on this machine


def check(jobs: Sequence[Job], launcher: str, store: Store) -> None:
    """Look at everything that the sweep is to make; Mistake says what is wrong and which job asks for it."""
    seen: set[str] = set()
    for job in jobs:
        try:
            if launcher in LOCAL:
                devices.check(job.experiment.runtime.device)
            for node in _wanted(job, store):
                if node.key not in seen:
                    seen.add(node.key)
                    _check(node)
        except ValueError as error:
            where = f" (job: {' '.join(job.overrides)})" if len(jobs) > 1 else ""
            raise Mistake(f"{error}{where}") from error


def _wanted(job: Job, store: Store) -> list[Node]:
    """The stages that the job will make, inputs first."""
    return list(job.leaf.walk()) if job.experiment.runtime.force else missing(job.leaf, store)


def _check(node: Node) -> None:
    check = getattr(registry.module(node.name), "check", None)
    if check is not None:
        check(node.config, {name: upstream.config for name, upstream in node.inputs.items()})
