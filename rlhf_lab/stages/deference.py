"""Demonstrations some of which follow the user, true or not: a sycophancy that is planted in SFT, with a dose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlhf_lab.config.runtime import Runtime
from rlhf_lab.config.tasks import SyntheticAssistant

VERSION = 1


@dataclass(slots=True)
class Deference:
    """The configuration of the stage."""

    task: SyntheticAssistant
    share: float  # of demonstrations where the user says what may be true or not


def run(config: Deference, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Write the task's `demonstrations.parquet` with that share of them following the user, and `task.json`."""
    import shutil

    from rlhf_lab.store.records import read_table, write_table
    from rlhf_lab.tasks.synthetic_assistant.opinions import Shown, deferred

    task = inputs["task"]
    shutil.copyfile(task / "task.json", out / "task.json")
    table = read_table(task / "demonstrations.parquet")
    columns = {name: table[name].to_pylist() for name in table.column_names}
    shown = [Shown(*pair) for pair in zip(columns["messages"], columns["answer"], strict=True)]
    answers = deferred(config.task, shown, config.share)
    write_table(out / "demonstrations.parquet", columns | {"answer": answers})
