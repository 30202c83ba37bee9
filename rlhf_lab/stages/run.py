"""The leaf of an experiment: ties samples to their scores, and checks that they belong together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlhf_lab.config import Runtime

VERSION = 1


def run(config: object, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Check that every table of scores has one row per sample; the manifest is all that is left in `out`."""
    import pyarrow.parquet as pq

    from rlhf_lab.records import STATES

    rows = {
        name: pq.read_metadata(
            folder / ("samples.parquet" if name == "samples" else "scores.parquet")
        ).num_rows
        for name, folder in inputs.items()
        if name != STATES
    }
    if len(set(rows.values())) != 1:
        raise ValueError(f"samples and scores differ in their number of rows: {rows}")
