"""TRL's DPOTrainer and KTOTrainer on token ids as they were sampled; TRL itself would tokenise text again."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

from rlhf_lab.config.policies import DPO, KTO
from rlhf_lab.models.batches import pad_token
from rlhf_lab.stages.policy.direct import Pairs, Setup, order
from rlhf_lab.stages.policy.resumable import Resumable


class TokenDPOTrainer(Resumable, DPOTrainer):
    """DPOTrainer on `prompt_ids`, `chosen_ids` and `rejected_ids`."""

    def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
        return dataset


class TokenKTOTrainer(Resumable, KTOTrainer):
    """KTOTrainer on `prompt_ids`, `completion_ids`, `KL_completion_ids` and `label`."""

    def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
        return dataset


class SummedCollator(DataCollatorForPreference):
    """Makes TRL's IPO a loss of log-ratios summed over tokens.

    TRL divides each log-ratio by the sum of the answer's mask, its number of tokens. Everywhere else TRL only asks
    where the mask is 0, so weights that sum to 1 leave the log-ratio undivided.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return TRL's batch with a `completion_mask` (2B, T) whose rows sum to 1."""
        batch = super().torch_call(examples)
        mask: torch.Tensor = batch["completion_mask"]
        return batch | {"completion_mask": mask / mask.sum(1, keepdim=True)}


def dpo_trainer(setup: Setup, config: DPO, arguments: dict[str, Any]) -> TokenDPOTrainer:
    """Return the trainer for DPO, IPO or SLiC, as `config.LOSS` says."""
    pairs = setup.train
    rows = order(len(pairs.prompts), config.epochs, config.seed)
    columns = {"prompt_ids": pairs.prompts, "chosen_ids": pairs.chosen, "rejected_ids": pairs.rejected}
    ipo = config.LOSS == "ipo"
    return TokenDPOTrainer(
        model=setup.policy,
        ref_model=setup.ref,  # without it TRL would load one from the path in the policy's config
        args=DPOConfig(**arguments, per_device_train_batch_size=config.batch, loss_type=[config.LOSS]),
        train_dataset=Dataset.from_dict({name: _take(ids, rows) for name, ids in columns.items()}),
        data_collator=SummedCollator(pad_token(setup.policy)) if ipo else None,
        processing_class=setup.tokenizer,
    )


def kto_trainer(setup: Setup, config: KTO, arguments: dict[str, Any]) -> TokenKTOTrainer:
    """Return the trainer for KTO; a step has as many answers as `config.batch` pairs."""
    answers = 2 * config.batch
    return TokenKTOTrainer(
        model=setup.policy,
        ref_model=setup.ref,
        args=KTOConfig(**arguments, per_device_train_batch_size=answers, loss_type="kto"),
        train_dataset=Dataset.from_dict(kto_rows(setup.train, config.epochs, answers, config.seed)),
        processing_class=setup.tokenizer,
    )


def kto_rows(pairs: Pairs, epochs: int, batch: int, seed: int) -> dict[str, list[Any]]:
    """Return the answers of all pairs one by one in the order of learning, chosen and rejected mixed.

    Within a batch each prompt also gets the answer of the row before, `KL_completion_ids`: KTO estimates its
    reference point from answers to other prompts (2402.01306).
    """
    count = len(pairs.prompts)
    rows = order(2 * count, epochs, seed)
    before = np.concatenate([np.roll(rows[i : i + batch], 1) for i in range(0, len(rows), batch)])
    answers = pairs.chosen + pairs.rejected
    return {
        "prompt_ids": _take(pairs.prompts, rows % count),
        "completion_ids": _take(answers, rows),
        "KL_completion_ids": _take(answers, before),
        "label": (rows < count).tolist(),
    }


def _take(items: list[list[int]], rows: np.ndarray) -> list[list[int]]:
    return [items[row] for row in rows]
