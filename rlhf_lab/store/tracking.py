"""A copy of the numbers of a job on Weights & Biases, to look at; nothing is read back from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rlhf_lab.config.experiment import Experiment
from rlhf_lab.config.runtime import Wandb
from rlhf_lab.store import redaction
from rlhf_lab.store.artifacts import canonical
from rlhf_lab.store.metrics import Listener


@contextmanager
def mirror(experiment: Experiment, group: str, name: str) -> Iterator[Listener]:
    """Yield a listener that copies every line of metrics to the tracker of the experiment, as one run of `group`."""
    tracker = experiment.tracker
    if not isinstance(tracker, Wandb):
        yield lambda message: None
        return
    import wandb

    run = wandb.init(
        mode=tracker.mode.value,
        project=redaction.hide(tracker.project),
        entity=redaction.hide(tracker.entity),
        tags=redaction.hide(tracker.tags),
        group=group,
        name=name,
        config=redaction.hide(canonical(experiment)),
        settings=wandb.Settings(silent=True, console="off", x_disable_meta=True),  # meta holds the command
    )

    def listener(message: dict[str, Any]) -> None:
        """Log the numbers of a line of metrics under the name of their stage."""
        if message["line"]:
            run.log({f"{message['stage']}/{key}": value for key, value in message["line"].items()})

    try:
        yield listener
    finally:
        run.finish()
