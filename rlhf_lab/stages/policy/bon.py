"""Best-of-n: many SFT answers to every held-out prompt, once; the curve for every n is computed from their scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlhf_lab.config import BestOfN, Runtime

VERSION = 1


def run(config: BestOfN, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Sample the held-out prompts from SFT; `samples.parquet`."""
    raise NotImplementedError
