"""GRPO against the proxy reward, evaluated on held-out prompts on a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlhf_lab.config import GRPO, Runtime

VERSION = 1


def run(config: GRPO, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train; leaves samples and reference tables, `tokenizer/`, `model/` and `metrics.jsonl`."""
    from rlhf_lab.stages.policy.online import run as online
    from rlhf_lab.stages.policy.online.grouped import GRPOOnRollouts

    online.run(config, inputs, out, runtime, GRPOOnRollouts)
