"""The proxy of stored samples from the scores of its members, shaped if it is: nothing is scored again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlhf_lab.config.runtime import Runtime

VERSION = 1


@dataclass(slots=True)
class CombinedScore:
    """How many members there are; how they are combined and shaped is said by the folder of the proxy."""

    members: int


def run(config: CombinedScore, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Combine the members' scores; `scores.parquet` has `proxy` and `proxy.0`, ... on one scale, not shaped."""
    import numpy as np

    from rlhf_lab.models import tokenization
    from rlhf_lab.scoring.proxy import Proxy
    from rlhf_lab.store.records import SAMPLES, SCORES, read_table, write_table

    proxy = Proxy.load(inputs["ensemble"])
    samples = read_table(inputs["samples"] / SAMPLES, ["prompt_id", "token_ids"])
    prompt, answers = (
        samples["prompt_id"].to_numpy(),
        samples["token_ids"].to_pylist() if proxy.shaping else [],
    )
    shaped = proxy.shaper(tokenization.load_tokenizer(inputs["samples"] / "tokenizer"))
    scores = [
        read_table(inputs[f"scores.{number}"] / SCORES, ["proxy"])["proxy"]
        for number in range(config.members)
    ]
    rewards = np.stack([one.to_numpy() for one in scores]).astype(float)
    whole = proxy.combined(rewards, prompt)
    columns = {"proxy": shaped(whole, prompt, answers)}
    columns |= {f"proxy.{n}": values for n, values in enumerate(proxy.on_one_scale(rewards, prompt))}
    write_table(out / SCORES, {name: values.astype(np.float32) for name, values in columns.items()})
