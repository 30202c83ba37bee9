"""The stage `deference`: demonstrations some of which follow the user, whether the user is right or not.

The input is the task; the stage leaves its `demonstrations.parquet` with a share of the answers rewritten, and
`task.json`. SFT on them has a planted sycophancy of a known dose.
"""

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
    share: float  # of the demonstrations in which the user states something, those that follow it


def run(config: Deference, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Write the task's demonstrations with `config.share` of them following the user."""
    import shutil

    from rlhf_lab.store.records import read_table, write_table
    from rlhf_lab.tasks.synthetic_assistant.opinions import Demonstration, deferential_answers

    task = inputs["task"]
    shutil.copyfile(task / "task.json", out / "task.json")
    table = read_table(task / "demonstrations.parquet")
    columns = {name: table[name].to_pylist() for name in table.column_names}
    pairs = zip(columns["messages"], columns["answer"], strict=True)
    demonstrations = [Demonstration(messages, answer) for messages, answer in pairs]
    answers = deferential_answers(config.task, demonstrations, config.share)
    write_table(out / "demonstrations.parquet", columns | {"answer": answers})
