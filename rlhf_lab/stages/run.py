"""The stage `run`: the leaf of an experiment, which ties samples to their scores.

The inputs are the samples and every table of scores; the stage leaves nothing but its manifest, whose inputs name
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlhf_lab.config.policies import Policy
from rlhf_lab.config.runtime import Runtime

VERSION = 1


@dataclass(slots=True)
class Run:
    """The configuration of the stage: the rule of selection that chooses among the samples, if there is one."""

    rule: Policy | None = None


def run(config: object, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Raise ValueError unless every table of scores has one row per sample."""
    import pyarrow.parquet as pq

    from rlhf_lab.store.records import SAMPLED, SAMPLES, SCORES, STATES, TURNS, TURNS_READ

    def rows(name: str) -> int:
        """Return how many rows an input has."""
        return pq.read_metadata(inputs[name] / (SAMPLES if name in (SAMPLED, TURNS) else SCORES)).num_rows

    turns = {TURNS, TURNS_READ} & set(inputs)
    for together in (turns, set(inputs) - turns - {STATES}):
        counts = {name: rows(name) for name in sorted(together)}
        if len(set(counts.values())) > 1:
            raise ValueError(f"samples and scores differ in their number of rows: {counts}")
