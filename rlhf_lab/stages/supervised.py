"""The stage `supervised`: a tagged task of which only some training prompts and demonstrations are supervised.

The input is the task; the stage leaves its files without the base corpus. Training prompts under tags that nobody
supervises get the split `unsupervised`, and demonstrations under them are dropped; held-out prompts keep every tag.
"""

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
    """Write the task's files with the split of training prompts and the demonstrations as supervision has them."""
    import shutil

    import numpy as np
    import pyarrow as pa

    from rlhf_lab.store.records import read_table, write_table

    task, supervised = inputs["task"], TAGS[config.supervised]
    shutil.copytree(task / "tokenizer", out / "tokenizer")
    for name in ("task.json", "rubric.parquet"):
        shutil.copyfile(task / name, out / name)
    prompts = read_table(task / "prompts.parquet")
    tag, split = (np.array(prompts[name].to_pylist()) for name in ("tag", "split"))
    new_split = np.where((split == "train") & ~np.isin(tag, supervised), UNSUPERVISED, split).tolist()
    write_table(out / "prompts.parquet", _columns(prompts) | {"split": new_split})
    demonstrations = read_table(task / "demonstrations.parquet")
    kept = demonstrations.filter(pa.array(np.isin(demonstrations["tag"].to_pylist(), supervised)))
    if not len(kept):
        raise ValueError(
            f"none of {len(demonstrations)} demonstrations is supervised ({config.supervised.value}), "
            "expected some: raise task.demonstrations"
        )
    write_table(out / "demonstrations.parquet", _columns(kept))


def _columns(table):
    return {name: table[name] for name in table.column_names}
