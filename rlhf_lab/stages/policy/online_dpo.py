"""Online DPO against the proxy reward, evaluated on held-out prompts on a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlhf_lab.config import OnlineDPO, Runtime

VERSION = 1


def run(config: OnlineDPO, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train; leaves samples and reference tables, `tokenizer/`, `model/` and `metrics.jsonl`."""
    from rlhf_lab.stages.policy.online import run as online
    from rlhf_lab.stages.policy.online.pairs import OnlineDPOTrainer

    online.run(config, inputs, out, runtime, OnlineDPOTrainer)
