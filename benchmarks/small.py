"""What benchmarks measure on, and with: the quickstart's shapes, and interleaved repeats."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

VOCABULARY, PAD, BOS, EOS = 200, 0, 1, 2
PROMPT_TOKENS, ANSWER_TOKENS = 20, 30  # at most; answers end after about 16
ENDING = 1 / 16  # chance that a token of the training text is EOS


def seconds(functions: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """The median time of each function over `repeats` rounds, in which they take turns.

    Measured is the processor time of this process, which others on the machine disturb less than the
    clock on the wall; with one thread the two agree on an idle machine.
    """
    torch.set_num_threads(1)
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            if turn:  # the first round warms up
                taken[name].append(time.process_time() - start)
    return {name: median(times) for name, times in taken.items()}


def shape(hidden: int, layers: int = 2) -> LlamaConfig:
    """A Llama as in conf/model, of the given width."""
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=8 * hidden // 3,
        num_hidden_layers=layers,
        num_attention_heads=max(2, hidden // 16),
        max_position_embeddings=PROMPT_TOKENS + ANSWER_TOKENS,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )


def language_model(hidden: int = 32) -> PreTrainedModel:
    """A model that has learned how long answers are: random words, ended with the chance ENDING at each."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(shape(hidden))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    rng = np.random.default_rng(0)
    for _ in range(60):
        words = rng.integers(3, VOCABULARY, size=(16, 24))
        ids = torch.from_numpy(np.where(rng.random(words.shape) < ENDING, EOS, words))
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def reward_model(hidden: int = 32) -> PreTrainedModel:
    """A reward model with random weights."""
    torch.manual_seed(1)
    config = shape(hidden)
    config.num_labels = 1
    return LlamaForSequenceClassification(config).eval()


def prompts(count: int, seed: int = 0) -> list[list[int]]:
    """Random prompts of 8 to PROMPT_TOKENS tokens."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(8, PROMPT_TOKENS + 1, size=count)
    return [rng.integers(3, VOCABULARY, size=length).tolist() for length in lengths]


def tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer of the benchmark's vocabulary."""
    words = ["<pad>", "<bos>", "<eos>", *(f"w{i}" for i in range(3, VOCABULARY))]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", padding_side="left"
    )
