"""Several reward models as one proxy: put on one scale and combined answer by answer (rlhf_lab.scoring.proxy)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlhf_lab.config.combination import Ensemble
from rlhf_lab.config.runtime import Runtime

VERSION = 1


def run(config: Ensemble, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Bring the members together, and say how their rewards become one."""
    import numpy as np

    from rlhf_lab.functional.combination import scale
    from rlhf_lab.scoring.proxy import link_tree, write_combination
    from rlhf_lab.store.records import read_table

    levels, units = [], []
    for number in range(config.members):
        member = inputs[f"member.{number}"]
        link_tree(member / "model", (out / "members" / str(number) if number else out) / "model")
        rows = read_table(inputs[f"rewards.{number}"] / "rewards.parquet")
        prompts = len(np.unique(rows["prompt_id"].to_numpy()))
        level, unit = scale(rows["reward"].to_numpy().astype(float).reshape(prompts, -1), config.offset)
        levels.append(level)
        units.append(unit)
    write_combination(out, config, np.stack(levels), np.array(units))
