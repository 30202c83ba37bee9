"""Rewards are those that the model gives one row at a time, whatever is batched, shared or left out."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    MistralConfig,
    MistralForSequenceClassification,
)

from rlhf_lab.scoring import reward_models

SHAPE = {"vocab_size": 16, "num_labels": 1, "pad_token_id": tiny.PAD, "eos_token_id": tiny.EOS}
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def gpt2(**more):
    torch.manual_seed(0)
    config = GPT2Config(**SHAPE | more, n_positions=64, n_embd=16, n_layer=2, n_head=2)
    return GPT2ForSequenceClassification(config).eval()


def sliding():
    """Each token sees the four before it: the cache of a prompt is cut."""
    torch.manual_seed(0)
    config = MistralConfig(**SHAPE, **SMALL, num_key_value_heads=1, sliding_window=4)
    return MistralForSequenceClassification(config).eval()


def bert():
    """Looks both ways, and has a head of another kind."""
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**SHAPE, **SMALL)).eval()


MODELS = {
    "llama": tiny.reward_model(),
    "gpt2": gpt2(),
    "pad is eos": gpt2(pad_token_id=tiny.EOS),
    "sliding window": sliding(),
    "bert": bert(),
}


def rows(each: int) -> tuple[list[list[int]], list[list[int]]]:
    """Five prompts, two of them equally long, and answers of 1 to 12 tokens to each, in no order."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(3, 16, size=length).tolist() for length in (3, 9, 5, 5, 7)]
    asked = [prompts[i] for i in rng.permutation(np.repeat(np.arange(5), each))]
    answers = [[*rng.integers(3, 16, size=rng.integers(0, 12)).tolist(), tiny.EOS] for _ in asked]
    return asked, answers


@torch.inference_mode()
def one_by_one(model, prompts, answers) -> np.ndarray:
    """(N,) what the model says of each row alone."""
    inputs = [torch.tensor([[*p, *a]]) for p, a in zip(prompts, answers, strict=True)]
    return np.array([model(input_ids=ids).logits[0, 0].item() for ids in inputs])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("each", [1, reward_models.SHARERS])
@pytest.mark.parametrize("tokens", [reward_models.TOKENS, 40])
def test_rewards_are_those_of_one_row_at_a_time(name, each, tokens, monkeypatch):
    monkeypatch.setattr(reward_models, "TOKENS", tokens)
    asked, answers = rows(each)
    model = MODELS[name]
    alone = one_by_one(model, asked, answers)
    assert np.ptp(alone) > 1e-3
    for batch in (512, 7):
        found = reward_models.reward(model, asked, answers, batch)
        assert found.dtype == np.float32 and np.abs(found - alone).max() < 1e-5


def test_what_has_no_prompt_is_scored_whole():
    _, answers = rows(reward_models.SHARERS)
    nothing = [()] * len(answers)
    found = reward_models.reward(MODELS["llama"], nothing, answers, 64)
    assert np.abs(found - one_by_one(MODELS["llama"], nothing, answers)).max() < 1e-5
    assert reward_models.reward(MODELS["llama"], [], [], 64).shape == (0,)


def test_a_shared_prompt_is_read_once(monkeypatch):
    asked, answers = rows(reward_models.SHARERS)
    read = []
    trunk = MODELS["llama"].model
    forward = trunk.forward
    monkeypatch.setattr(
        trunk, "forward", lambda ids, **kwargs: read.append(ids.numel()) or forward(ids, **kwargs)
    )
    monkeypatch.setattr(reward_models, "TOKENS", 40)  # little padding
    reward_models.reward(MODELS["llama"], asked, answers, 512)
    padded = 1.2 * sum(map(len, answers))
    assert sum(read) < padded + sum(map(len, {tuple(prompt) for prompt in asked}))
