"""The stage `weight_noise`: the SFT model with isotropic noise on its weights, a control without any reward.

All weights move in one direction, drawn from independent standard normals. How far is found by bisection, so that the
KL from SFT on answers to training prompts is the one that was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_lab.config.policies import WeightNoise
from rlhf_lab.config.runtime import Runtime

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

VERSION = 1
PROMPTS = 256  # whose answers the KL of a scale is measured on
BISECTIONS = 12  # of the logarithm of the scale between a factor of two
LARGEST, SMALLEST = 1e3, 1e-6  # scales, in units of the weights


def run(config: WeightNoise, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Evaluate SFT with noise on its weights at every KL."""
    from rlhf_lab.models import loading, tokenization
    from rlhf_lab.scoring.samples import load_prompts, spread
    from rlhf_lab.stages.policy.untrained import evaluate_at

    folder, task = inputs["sft"] / "model", inputs["task"]
    sft = loading.load_language_model(folder, runtime.device)
    prompts = spread(load_prompts(task, tokenization.load_tokenizer(folder), "train"), PROMPTS).ids
    tokens = json.loads((task / "task.json").read_text())["answer_tokens"]
    direction = draw_direction(sft, config.seed)

    def kl_at(policy: PreTrainedModel, scale: float) -> float:
        """Return the KL of the policy at a scale, always on the same prompts and with the same random numbers."""
        from rlhf_lab.models.log_ratios import log_ratios
        from rlhf_lab.models.sampling import sample
        from rlhf_lab.scoring.heldout_evaluation import generator

        move(policy, sft, direction, scale)
        answers = sample(policy, prompts, 1, tokens, generator(config.seed, 0)).tokens()
        return float(log_ratios(policy, sft, prompts, answers).exact.mean())

    def change(policy: PreTrainedModel, kl: float, scale_before: float | None) -> float:
        """Move the policy to a KL, and return the scale of the noise that does it."""
        scale = scale_of(kl, lambda scale: kl_at(policy, scale), scale_before or SMALLEST)
        move(policy, sft, direction, scale)
        return scale

    evaluate_at(config.kls, change, config, inputs, out, runtime)


def draw_direction(model: PreTrainedModel, seed: int) -> list[torch.Tensor]:
    """Return an independent standard normal number for every weight of the model."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(weight.shape, generator=generator).to(weight.device) for weight in model.parameters()]


def move(policy: PreTrainedModel, sft: PreTrainedModel, direction: list[torch.Tensor], scale: float) -> None:
    """Set the weights of the policy to those of SFT plus `scale` times the direction."""
    import torch

    with torch.no_grad():
        for weight, start, noise in zip(policy.parameters(), sft.parameters(), direction, strict=True):
            weight.copy_(start + scale * noise.to(start.dtype))


def scale_of(kl: float, kl_at: Callable[[float], float], least: float = SMALLEST) -> float:
    """Return the scale at which the KL is `kl` nats: by doubling from `least`, then by bisection.

    Raises ValueError if no scale up to LARGEST reaches it.
    """
    high = least
    while not (found := kl_at(high)) >= kl:
        high *= 2
        if high > LARGEST:
            raise ValueError(
                f"policy.kls: noise on the weights reaches a KL of {found:.3g} nats and not {kl:g}: leave {kl:g} out"
            )
    low = high / 2
    for _ in range(BISECTIONS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if kl_at(middle) < kl else (low, middle)
    return (low * high) ** 0.5
