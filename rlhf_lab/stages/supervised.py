"""A tagged task as who looks on sees it: training prompts and demonstrations under other tags are laid aside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlhf_lab.config.runtime import Runtime
from rlhf_lab.config.tasks import Supervision

VERSION = 1
TAGS = {Supervision.monitored: ["monitored"], Supervision.adversarial: ["monitored", "imitation"]}
UNSUPERVISED = "unsupervised"  # the split of training prompts that nobody looks at


@dataclass(slots=True)
class Oversight:
    """The configuration of the stage."""

    supervised: Supervision


def run(config: Oversight, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Write the task's files but the base corpus: `prompts.parquet` has every prompt, held-out ones under each tag;
    `demonstrations.parquet` the supervised ones.
    """
    import shutil

    import numpy as np
    import pyarrow as pa

    from rlhf_lab.store.records import read_table, write_table

    task, seen = inputs["task"], TAGS[config.supervised]
    shutil.copytree(task / "tokenizer", out / "tokenizer")
    for name in ("task.json", "rubric.parquet"):
        shutil.copyfile(task / name, out / name)
    prompts = read_table(task / "prompts.parquet")
    tag, split = (np.array(prompts[name].to_pylist()) for name in ("tag", "split"))
    moved = np.where((split == "train") & ~np.isin(tag, seen), UNSUPERVISED, split).tolist()
    write_table(out / "prompts.parquet", _columns(prompts) | {"split": moved})
    shown = read_table(task / "demonstrations.parquet")
    kept = shown.filter(pa.array(np.isin(shown["tag"].to_pylist(), seen)))
    if not len(kept):
        raise ValueError(
            f"none of {len(shown)} demonstrations is supervised ({config.supervised.value}), expected some: raise "
            "task.demonstrations"
        )
    write_table(out / "demonstrations.parquet", _columns(kept))


def _columns(table):
    return {name: table[name] for name in table.column_names}
