"""The proxy of stored samples from the scores of its members: nothing is scored again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlhf_lab.config import Runtime

VERSION = 1


@dataclass(slots=True)
class CombinedScore:
    """How many members there are; how they are combined is said by the ensemble."""

    members: int


def run(config: CombinedScore, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Combine the members' scores; `scores.parquet` has `proxy` and `proxy.0`, ... on one scale."""
    import numpy as np

    from rlhf_lab.proxy import Proxy
    from rlhf_lab.records import SAMPLES, SCORES, read_table, write_table

    proxy = Proxy.load(inputs["ensemble"])
    prompt = read_table(inputs["samples"] / SAMPLES, ["prompt_id"])["prompt_id"].to_numpy()
    scores = [
        read_table(inputs[f"scores.{number}"] / SCORES, ["proxy"])["proxy"]
        for number in range(config.members)
    ]
    rewards = np.stack([one.to_numpy() for one in scores]).astype(float)
    columns = {"proxy": proxy.combined(rewards, prompt)}
    columns |= {f"proxy.{n}": values for n, values in enumerate(proxy.on_one_scale(rewards, prompt))}
    write_table(out / SCORES, {name: values.astype(np.float32) for name, values in columns.items()})
