"""Any checkpoint, a language model or a reward model, as something that scores answers and gives them."""

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

NO_LIMIT = 1 << 62  # tokens: a prompt is never cut, since its beginning says who asks


class Checkpoint(NamedTuple):
    """A model in evaluation mode with its tokenizer."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    rewards: bool  # whether it is a reward model
    batch: int  # rows that the model reads at a time

    @property
    def chats(self) -> bool:
        """Whether the tokenizer has a chat template of its own."""
        from rlhf_lab.models.tokenization import PLAIN_TEMPLATE

        return self.tokenizer.chat_template != PLAIN_TEMPLATE

    def __str__(self) -> str:
        """Return a line that says what the checkpoint is."""
        kind = "reward model" if self.rewards else "language model"
        how = "its own chat template" if self.chats else "plain text: its tokenizer has no chat template"
        return f"{self.name}: {kind} {type(self.model).__name__}, {how}"

    def question_ids(self, text: str) -> list[int]:
        """Return the tokens of one user turn up to the answer; without a chat template those of the text itself."""
        if self.chats:
            return self.dialogue_ids([{"role": "user", "content": text.strip()}])
        ids = self.tokenizer.encode(text)
        ended = ids[-1:] == [self.tokenizer.eos_token_id] and not self.rewards
        return ids[:-1] if ended and len(ids) > 1 else ids

    def dialogue_ids(self, messages: Messages) -> list[int]:
        """Return the tokens of a dialogue up to the answer; without a chat template turns of Human and Assistant."""
        from rlhf_lab.models.tokenization import prompt_ids

        return prompt_ids(self.tokenizer, messages, NO_LIMIT)

    def answer_ids(self, answer: str) -> list[int]:
        """Return the tokens of an answer; for a reward model with EOS, where it reads the reward."""
        from rlhf_lab.models.tokenization import answer_ids

        text = answer.strip() if self.chats else f" {answer.strip()}"
        return answer_ids(self.tokenizer, text, ended=self.rewards)

    def scores(self, prompts: Sequence[list[int]], answers: Sequence[list[int]]) -> np.ndarray:
        """Return the reward or the log-probability (nats) of each answer to its prompt, (N,); NaN if it is too long."""
        scores = np.full(len(answers), np.nan)
        fits = [i for i, pair in enumerate(zip(prompts, answers, strict=True)) if self.fits(*pair)]
        if self.rewards:
            from rlhf_lab.scoring.reward_models import reward as score
        else:
            from rlhf_lab.models.log_ratios import log_probabilities as score
        if fits:
            asked, given = [prompts[i] for i in fits], [answers[i] for i in fits]
            scores[fits] = score(self.model, asked, given, self.batch)
        return scores

    def fits(self, prompt: Sequence[int], answer: Sequence[int]) -> bool:
        """Return whether the model reads so many tokens."""
        limit = pretrained_files.longest(self.model.config.to_dict())
        return limit is None or len(prompt) + len(answer) <= limit


def find(name: str, revision: str | None, device: str) -> Path:
    """Return the folder of the checkpoint; raise ValueError, in one line, if it or the device cannot be used."""
    is_path = name.startswith((".", "~", "/")) or not sources.HUB_NAME.fullmatch(name)
    if is_path and not Path(name).expanduser().exists():
        raise ValueError(f"{name}: found no such folder, and it is no hub id (owner/name): check --model")
    devices.check(device, "--device ")
    folder = pretrained_files.folder(PretrainedModel(name, revision))
    pretrained_files.check(folder, name)
    return folder


def load(folder: Path, name: str, device: str, batch: int) -> Checkpoint:
    """Load the checkpoint in `folder`; one from the hub gets its commit in its name."""
    from transformers.utils import logging

    from rlhf_lab.models import pretrained_models

    logging.disable_progress_bar()  # of loading weights
    model, tokenizer = pretrained_models.load(folder, name)
    rewards = pretrained_files.is_classifier(pretrained_files.describe(folder, name))
    from_hub = sources.COMMIT.fullmatch(folder.name) and not Path(name).expanduser().exists()
    full_name = f"{name}@{folder.name}" if from_hub else name
    return Checkpoint(full_name, model.to(device), tokenizer, rewards, batch)  # pyright: ignore[reportArgumentType]
