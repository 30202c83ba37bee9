"""A checkpoint of anyone's as something that scores texts and answers them: language model or reward model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rlhf_lab.config.models import PretrainedModel
from rlhf_lab.models import devices, pretrained_files
from rlhf_lab.store import sources

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from rlhf_lab.models.tokenization import Messages

EVER = 1 << 62  # tokens: a prompt is never cut, as its beginning says who asks


class Checkpoint(NamedTuple):
    """A model in evaluation mode with its tokenizer."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    rewards: bool  # whether it is a reward model
    batch: int  # rows at a time

    @property
    def chats(self) -> bool:
        """Whether the tokenizer brings a chat template of its own."""
        from rlhf_lab.models.tokenization import PLAIN_TEMPLATE

        return self.tokenizer.chat_template != PLAIN_TEMPLATE

    def __str__(self) -> str:
        """What it is, for a heading."""
        kind = "reward model" if self.rewards else "language model"
        how = "its own chat template" if self.chats else "plain text: its tokenizer has no chat template"
        return f"{self.name}: {kind} {type(self.model).__name__}, {how}"

    def asked(self, text: str) -> list[int]:
        """The tokens of what one user says, up to where the answer starts; as it is written without a template."""
        if self.chats:
            return self.in_turns([{"role": "user", "content": text.strip()}])
        ids = self.tokenizer.encode(text)
        ended = ids[-1:] == [self.tokenizer.eos_token_id] and not self.rewards
        return ids[:-1] if ended and len(ids) > 1 else ids

    def in_turns(self, messages: Messages) -> list[int]:
        """The tokens of a dialogue up to where the next answer starts; Human and Assistant without a template."""
        from rlhf_lab.models.tokenization import prompt_ids

        return prompt_ids(self.tokenizer, messages, EVER)

    def answered(self, answer: str) -> list[int]:
        """The tokens of an answer; ended for a reward model, which reads there."""
        from rlhf_lab.models.tokenization import answer_ids

        written = answer.strip() if self.chats else f" {answer.strip()}"
        return answer_ids(self.tokenizer, written, ended=self.rewards)

    def scores(self, prompts: Sequence[list[int]], answers: Sequence[list[int]]) -> np.ndarray:
        """The reward of each answer to its prompt, or its log-probability in nats, (N,); NaN of one too long."""
        scores = np.full(len(answers), np.nan)
        fits = [i for i, pair in enumerate(zip(prompts, answers, strict=True)) if self.fits(*pair)]
        if fits:
            rows = [prompts[i] for i in fits], [answers[i] for i in fits]
            scores[fits] = self._rewards(*rows) if self.rewards else self._log_probabilities(*rows)
        return scores

    def fits(self, prompt: Sequence[int], answer: Sequence[int]) -> bool:
        """Whether the model reads as many tokens at once."""
        limit = pretrained_files.longest(self.model.config.to_dict())
        return limit is None or len(prompt) + len(answer) <= limit

    def _rewards(self, prompts: Sequence[list[int]], answers: Sequence[list[int]]) -> np.ndarray:
        from rlhf_lab.scoring.reward_models import reward

        return reward(self.model, prompts, answers, self.batch)

    def _log_probabilities(self, prompts: Sequence[list[int]], answers: Sequence[list[int]]) -> np.ndarray:
        """Summed over the answer's tokens."""
        from rlhf_lab.models.log_ratios import log_probabilities

        return log_probabilities(self.model, prompts, answers, self.batch)


def look(name: str, revision: str | None, device: str) -> Path:
    """Where the checkpoint's files are; ValueError, in one line, when they or the device are not what is needed."""
    path = name.startswith((".", "~", "/")) or not sources.HUB_NAME.fullmatch(name)
    if path and not Path(name).expanduser().exists():
        raise ValueError(f"{name}: found no such folder, and it is no hub id (owner/name): check --model")
    devices.check(device, "--device ")
    folder = pretrained_files.folder(PretrainedModel(name, revision))
    pretrained_files.check(folder, name)
    return folder


def load(folder: Path, name: str, device: str, batch: int) -> Checkpoint:
    """The checkpoint in `folder`; one from the hub is named with its commit."""
    from transformers.utils import logging

    from rlhf_lab.models import pretrained_models

    logging.disable_progress_bar()  # of loading weights
    model, tokenizer = pretrained_models.load(folder, name)
    rewards = pretrained_files.is_classifier(pretrained_files.describe(folder, name))
    of_hub = sources.COMMIT.fullmatch(folder.name) and not Path(name).expanduser().exists()
    whole = f"{name}@{folder.name}" if of_hub else name
    return Checkpoint(whole, model.to(device), tokenizer, rewards, batch)  # pyright: ignore[reportArgumentType]
