"""TRL's RewardTrainer on rankings: each of K answers to a prompt is read once, however many of its pairs are compared.

TRL gives the loop and its numbers; the batches and the loss are made here. With two answers to a prompt and hard
labels the loss is TRL's own.
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
    margin: Sequence[float]  # (P,) gold of the chosen minus gold of the rejected; 0 if gold is not known


@dataclass(frozen=True)
class Batches:
    """Collates rankings: all first answers, then all second ones, ..., as TRL puts chosen before rejected."""

    pad: int

    def __call__(self, rows: list[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Return ids and mask (A, T) of all answers, and the rows, margins and numbers of all P pairs."""
        place: dict[tuple[int, int], int] = {}
        for number in range(max(len(row["answers"]) for row in rows)):
            for ranking, row in enumerate(rows):
                if number < len(row["answers"]):
                    place[ranking, number] = len(place)
        ids, mask = right_padded([rows[ranking]["answers"][number] for ranking, number in place], self.pad)

        def flat(name: str) -> torch.Tensor:
            return torch.tensor([*chain.from_iterable(row[name] for row in rows)])

        def sides(name: str) -> torch.Tensor:
            return torch.tensor([place[ranking, n] for ranking, row in enumerate(rows) for n in row[name]])

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
        labels = torch.tensor([*chain.from_iterable(ranking.preference for ranking in rankings)])
        self.labels = losses.smoothed(labels, config.smoothing)  # (P,) in the order of the rankings
        self.predicted = self.labels.clone()  # (P,) by the model, in the last epoch
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
        """Return the mean over prompts of their pairs' mean loss, plus `center` x the mean squared sum of rewards."""
        outputs = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        )
        rewards = outputs.logits.squeeze(-1)
        chosen, rejected = rewards[inputs["chosen"]], rewards[inputs["rejected"]]
        pair = inputs["pair"].cpu()
        label = self.labels[pair].to(rewards.device)
        gap = chosen - rejected
        if self.config.margin:
            gap = gap - self.config.margin * inputs["margin"].abs()  # a labeler who errs reports a gap too
        loss = losses.of_rankings(losses.of_gaps(self.config.loss, gap, label), inputs["pairs"])
        if self.config.center:
            loss = loss + self.config.center * losses.of_rankings((chosen + rejected) ** 2, inputs["pairs"])
        with torch.no_grad():
            self.predicted[pair] = torch.sigmoid(chosen - rejected).cpu()
            self._metrics["train"]["accuracy"].append((chosen > rejected).float().mean().item())
        return (loss, outputs) if return_outputs else loss

    def smooth(self) -> None:
        """Move the labels towards the model's predictions of the epoch that ends (2401.16335, Algorithm 2)."""
        self.labels.lerp_(self.predicted, self.config.data_smoothing)


class _DataSmoothing(TrainerCallback):
    def __init__(self, trainer: RankingTrainer) -> None:
        self._trainer = trainer

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        self._trainer.smooth()


def _rows(rankings: Sequence[Ranking]) -> Iterator[dict[str, Any]]:
    """Give the rankings as rows, each pair with its number."""
    count = 0
    for ranking in rankings:
        yield {
            "answers": [*ranking.answers],
            "chosen": [*ranking.chosen],
            "rejected": [*ranking.rejected],
            "margin": [*ranking.margin],
            "pair": [*range(count, count + len(ranking.chosen))],
        }
        count += len(ranking.chosen)


def shuffled(rankings: Sequence[Ranking]) -> list[Ranking]:
    """Return every pair as a ranking of its own; an answer is then read once for each pair that it is in."""
    pairs = []
    for ranking in rankings:
        columns = ranking.chosen, ranking.rejected, ranking.preference, ranking.margin
        for chosen, rejected, preference, margin in zip(*columns, strict=True):
            answers = [ranking.answers[chosen], ranking.answers[rejected]]
            pairs.append(Ranking(answers, [0], [1], [preference], [margin]))
    return pairs
