"""A proxy with what is made of its rewards before a policy learns from them (rlhf_lab.scoring.proxy)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlhf_lab.config.runtime import Runtime
from rlhf_lab.config.shaping import Shaping

VERSION = 1


def run(config: Shaping, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Bring the proxy, and its rewards of SFT answers; say how it is shaped."""
    import numpy as np

    from rlhf_lab.scoring.proxy import Proxy, link_tree, write_shaping
    from rlhf_lab.store.records import read_table

    for path in sorted(inputs["proxy"].iterdir()):
        if path.is_dir() and path.name != "checkpoint":
            link_tree(path, out / path.name)
    for name in ("rule.yaml", "scale.parquet"):
        if (inputs["proxy"] / name).exists():
            (out / name).write_bytes((inputs["proxy"] / name).read_bytes())
    proxy = Proxy.load(inputs["proxy"])
    tables = [
        read_table(inputs[f"rewards.{number}"] / "rewards.parquet") for number in range(len(proxy.members))
    ]
    prompt = tables[0]["prompt_id"].to_numpy()
    rewards = np.stack([table["reward"].to_numpy() for table in tables]).astype(float)
    references = proxy.combined(rewards, prompt).reshape(len(np.unique(prompt)), -1)
    write_shaping(out, config, references)
