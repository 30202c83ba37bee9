"""A tagged task as who looks on sees it: training prompts and demonstrations under other tags are laid aside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlhf_lab.config import Runtime, Supervision

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

    import pyarrow as pa
    import pyarrow.compute as pc

    from rlhf_lab.records import read_table, write_table

    task, seen = inputs["task"], pa.array(TAGS[config.supervised])
    shutil.copytree(task / "tokenizer", out / "tokenizer")
    for name in ("task.json", "rubric.parquet"):
        shutil.copyfile(task / name, out / name)
    prompts = read_table(task / "prompts.parquet")
    aside = pc.and_(pc.equal(prompts["split"], "train"), pc.invert(pc.is_in(prompts["tag"], value_set=seen)))
    split = pc.if_else(aside, UNSUPERVISED, prompts["split"])
    place = prompts.column_names.index("split")
    write_table(out / "prompts.parquet", _columns(prompts.set_column(place, "split", split)))
    shown = read_table(task / "demonstrations.parquet")
    kept = shown.filter(pc.is_in(shown["tag"], value_set=seen))
    if not len(kept):
        raise ValueError(
            f"none of {len(shown)} demonstrations is supervised ({config.supervised.value}), expected some: raise "
            "task.demonstrations"
        )
    write_table(out / "demonstrations.parquet", _columns(kept))


def _columns(table):
    return {name: table[name] for name in table.column_names}
