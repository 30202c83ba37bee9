"""Online DPO: DPO on pairs of the policy's own answers, of which the one that the proxy prefers is chosen (2402.04792).

TRL's own (experimental) OnlineDPOTrainer samples with `generate` and cannot resume from a checkpoint. This trainer
has its loss, on rollouts, in the loop of GRPOTrainer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from rlhf_lab.config.online import OnlineDPO
from rlhf_lab.functional import policy_gradient as pg
from rlhf_lab.models.batches import Batch
from rlhf_lab.stages.policy.online.rollouts import Report, Rollout, Rollouts, arguments, token_logps
from rlhf_lab.stages.policy.online.setup import Setup

PAIR = 2


class OnlineDPOTrainer(Rollouts, GRPOTrainer):
    """DPO or IPO on pairs that are sampled anew for every rollout."""

    config: OnlineDPO

    def __init__(self, setup: Setup, config: OnlineDPO, out: Path, device: str, report: Report) -> None:
        super().__init__(setup, config, GRPOConfig(**arguments(config, out, device)), report, PAIR)

    def loss_inputs(self, rollout: Rollout) -> dict[str, Any]:
        """Return the pairs (B / 2, 2, ...), the chosen answer first; of equal scores the first is chosen."""
        score = rollout.score.view(-1, PAIR)
        first, second = score.unbind(1)
        better = (second > first).long()[:, None]
        pairs = torch.arange(score.numel(), device=score.device).view(-1, PAIR)
        rows = pairs.gather(1, torch.cat([better, 1 - better], 1))
        self.note(margin=(first - second).abs().mean(), tied=(first == second).float().mean())
        tensors = rollout.batch.named("") | {"ref_logps": rollout.ref_logps}
        return {name: None if value is None else value[rows] for name, value in tensors.items()}

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        flat: dict[str, Any] = {
            name: None if value is None else value.flatten(0, 1) for name, value in inputs.items()
        }
        batch = Batch.of(flat, "")
        log_ratio = token_logps(model, batch) - flat["ref_logps"]
        chosen, rejected = (log_ratio * batch.answer_mask).sum(1).view(-1, PAIR).unbind(1)
        loss = pg.pair_loss(chosen - rejected, self.config.beta, self.config.loss)
        self._require_finite("policy loss", loss)
        self.note(policy_loss=loss, accuracy=(chosen > rejected).float().mean())
        return loss
