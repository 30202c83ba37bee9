"""TRL's RewardTrainer on rankings: K answers to a prompt are read once, however many of its pairs are compared.

From TRL come the loop and its numbers; from here the batches and the loss. With two answers to a prompt and hard labels
the loss is TRL's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from rlhf_lab.config.models import RewardTraining
from rlhf_lab.functional import preference_losses as losses
from rlhf_lab.models.batches import right_padded


class Ranking(NamedTuple):
    """Answers to one prompt, and which of them were compared."""

    answers: Sequence[Sequence[int]]  # K, prompt and answer as token ids
    chosen: Sequence[int]  # (P,) places among the answers
    rejected: Sequence[int]  # (P,)
    preference: Sequence[float]  # (P,) the label's share for the chosen, 0.5 to 1
    margin: Sequence[float]  # (P,) gold of the chosen minus gold of the rejected; 0 where nobody knows


@dataclass(frozen=True)
class Batches:
    """Puts rankings together: all first answers, all second ones, ..., as TRL puts chosen before rejected."""

    pad: int

    def __call__(self, rows: list[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Ids and mask (A, T) of all answers; of all P pairs, where their sides stand and what is known of them."""
        place: dict[tuple[int, int], int] = {}
        for number in range(max(len(row["answers"]) for row in rows)):
            for which, row in enumerate(rows):
                if number < len(row["answers"]):
                    place[which, number] = len(place)
        ids, mask = right_padded([rows[which]["answers"][number] for which, number in place], self.pad)

        def flat(name: str) -> torch.Tensor:
            return torch.tensor([*chain.from_iterable(row[name] for row in rows)])

        def sides(name: str) -> torch.Tensor:
            return torch.tensor([place[which, n] for which, row in enumerate(rows) for n in row[name]])

        pairs = torch.tensor([len(row["chosen"]) for row in rows])
        return {
            "input_ids": ids,
            "attention_mask": mask.long(),
            "chosen": sides("chosen"),
            "rejected": sides("rejected"),
            "margin": flat("margin").float(),
            "pair": flat("pair"),
            "pairs": pairs.repeat_interleave(pairs),
        }


class RankingTrainer(RewardTrainer):
    """Trains a reward model on rankings, with the losses and labels of `config`."""

    def __init__(
        self,
        model: PreTrainedModel,
        args: RewardConfig,
        rankings: Sequence[Ranking],
        tokenizer: PreTrainedTokenizerBase,
        config: RewardTraining,
    ) -> None:
        args.remove_unused_columns = False
        pad = tokenizer.pad_token_id
        assert isinstance(pad, int)
        super().__init__(
            model=model,
            args=args,
            train_dataset=Dataset.from_list([*_rows(rankings)]),
            processing_class=tokenizer,
            data_collator=Batches(pad),
        )
        self.config = config
        labels = torch.tensor([*chain.from_iterable(one.preference for one in rankings)])
        self.labels = losses.smoothed(
            labels, config.smoothing
        )  # (P,) of all pairs, in the order of the rankings
        self.predicted = self.labels.clone()  # of the last epoch
        if config.data_smoothing:
            self.add_callback(_DataSmoothing(self))

    def _prepare_dataset(self, dataset: Dataset, *args: Any) -> Dataset:
        return dataset

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The mean over prompts of their pairs' mean loss, and `center` times the mean squared sum of rewards."""
        outputs = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        )
        rewards = outputs.logits.squeeze(-1)
        chosen, rejected = rewards[inputs["chosen"]], rewards[inputs["rejected"]]
        pair = inputs["pair"].cpu()
        label = self.labels[pair].to(rewards.device)
        asked = chosen - rejected
        if self.config.margin:
            asked = asked - self.config.margin * inputs["margin"].abs()  # who errs reports a gap too
        loss = losses.of_rankings(losses.of_gaps(self.config.loss, asked, label), inputs["pairs"])
        if self.config.center:
            loss = loss + self.config.center * losses.of_rankings((chosen + rejected) ** 2, inputs["pairs"])
        with torch.no_grad():
            self.predicted[pair] = torch.sigmoid(chosen - rejected).cpu()
            self._metrics["train"]["accuracy"].append((chosen > rejected).float().mean().item())
        return (loss, outputs) if return_outputs else loss

    def smooth(self) -> None:
        """Move the labels towards what the model said of them in the epoch that ends (2401.16335, Algorithm 2)."""
        self.labels.lerp_(self.predicted, self.config.data_smoothing)


class _DataSmoothing(TrainerCallback):
    def __init__(self, trainer: RankingTrainer) -> None:
        self._trainer = trainer

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        self._trainer.smooth()


def _rows(rankings: Sequence[Ranking]) -> Iterator[dict[str, Any]]:
    """The rankings as rows, each pair numbered."""
    done = 0
    for one in rankings:
        kept = {name: [*getattr(one, name)] for name in ("answers", "chosen", "rejected", "margin")}
        yield {**kept, "pair": [*range(done, done + len(one.chosen))]}
        done += len(one.chosen)


def shuffled(rankings: Sequence[Ranking]) -> list[Ranking]:
    """Every pair as a ranking of its own: an answer is then read once for each pair that it is in."""
    return [
        Ranking([one.answers[c], one.answers[r]], [0], [1], [preference], [margin])
        for one in rankings
        for c, r, preference, margin in zip(one.chosen, one.rejected, one.preference, one.margin, strict=True)
    ]
