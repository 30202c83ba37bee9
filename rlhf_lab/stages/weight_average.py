"""One reward model whose weights are the mean of the members' (WARM, 2401.12187)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlhf_lab.config.combination import WeightAverage
from rlhf_lab.config.models import Half
from rlhf_lab.config.runtime import Runtime

VERSION = 2  # judged on held-out pairs


def run(config: WeightAverage, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Average the members' weights into `model/`, and judge it on the comparisons that all of them learned from."""
    import torch

    from rlhf_lab.models import loading, tokenization
    from rlhf_lab.scoring import accuracy

    folders = [inputs[f"member.{number}"] / "model" for number in range(config.members)]
    model = loading.load_reward_model(folders[0], runtime.device)
    others = [
        dict(loading.load_reward_model(path, runtime.device).named_parameters()) for path in folders[1:]
    ]
    with torch.no_grad():
        for name, mine in model.named_parameters():
            mine.copy_(torch.stack([mine, *(other[name] for other in others)]).mean(dim=0))
    tokenizer = tokenization.load_tokenizer(folders[0])
    loading.save(model, tokenizer, out / "model")
    compared = accuracy.sides(inputs["task"], inputs["pairs"], tokenizer, Half.both)
    accuracy.judge(model, compared, out, runtime.score_batch)
