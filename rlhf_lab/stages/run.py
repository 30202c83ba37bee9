"""The leaf of an experiment: ties samples to their scores, and checks that they belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlhf_lab.config.policies import Policy
from rlhf_lab.config.runtime import Runtime

VERSION = 1


@dataclass(slots=True)
class Run:
    """The leaf ties samples and scores together; a rule of selection says how it chooses among them."""

    rule: Policy | None = None


def run(config: object, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Check that every table of scores has one row per sample; the manifest is all that is left in `out`."""
    import pyarrow.parquet as pq

    from rlhf_lab.store.records import SAMPLED, SAMPLES, SCORES, STATES, TURNS, TURNS_READ

    def rows(name: str) -> int:
        return pq.read_metadata(inputs[name] / (SAMPLES if name in (SAMPLED, TURNS) else SCORES)).num_rows

    turns = {TURNS, TURNS_READ} & set(inputs)
    for together in (turns, set(inputs) - turns - {STATES}):
        counts = {name: rows(name) for name in sorted(together)}
        if len(set(counts.values())) > 1:
            raise ValueError(f"samples and scores differ in their number of rows: {counts}")
