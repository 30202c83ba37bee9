"""The stage `temperature`: the SFT model sampled at lower temperatures, a control without any reward.

At temperature T the probability of a token is proportional to p^(1/T). KL and log-probabilities are those of the
sharpened distribution against SFT at temperature 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_lab.config.policies import Temperature
from rlhf_lab.config.runtime import Runtime

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

VERSION = 1


def run(config: Temperature, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Evaluate SFT at every temperature."""
    from rlhf_lab.stages.policy.untrained import evaluate_at

    hooks = ExitStack()

    def change(policy: PreTrainedModel, temperature: float, _: float | None) -> float:
        """Sharpen the policy to a temperature, and return it."""
        hooks.close()  # of the temperature before
        hooks.callback(sharpen(policy, temperature).remove)
        return temperature

    evaluate_at(config.temperatures, change, config, inputs, out, runtime)


def sharpen(model: PreTrainedModel, temperature: float) -> RemovableHandle:
    """Divide the logits of `model` by the temperature from now on, until the handle is removed."""

    def divided(module: Any, arguments: Any, outputs: Any) -> Any:
        """Return the outputs with their logits divided."""
        outputs.logits = outputs.logits.float() / temperature
        return outputs

    return model.register_forward_hook(divided)
