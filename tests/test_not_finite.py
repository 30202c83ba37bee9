"""NaN or infinity stops a stage at the step where it comes up, and says which quantity."""

import json
from dataclasses import replace

import pytest
import tiny
import torch
from online import inputs, settings, toy, trained
from reward_models import reward_training, scratch
from runtime import RUNTIME

from rlhf_lab.config.models import SFT
from rlhf_lab.models import loading
from rlhf_lab.stages import base, reward_model, sft
from rlhf_lab.store.records import read_table, write_table

__all__ = ["inputs"]  # a fixture
LATE = replace(RUNTIME, log_every=1000)  # a line of metrics would come too late to stop at


def spoil(folder):
    """Overwrite one weight with NaN, as a run that has diverged would."""
    model = loading.load_language_model(folder / "model")
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[0, 0] = float("nan")
    loading.save(model, tiny.tokenizer(), folder / "model")


def test_pretraining_stops_at_the_step_of_a_loss_that_is_not_finite(inputs, tmp_path):
    write_table(inputs["task"] / "base.parquet", {"text": ["w1 w2 good w3"] * 40})
    tiny.tokenizer().save_pretrained(inputs["task"] / "tokenizer")
    shape = scratch(hidden=8, intermediate=8, steps=9, batch=2, lr=1e30)
    (tmp_path / "out").mkdir()
    with pytest.raises(FloatingPointError, match=r"loss is nan at step [2-9]"):
        base.run(shape, inputs, tmp_path / "out", LATE)


def test_sft_stops_at_the_step_of_a_loss_that_is_not_finite(inputs, tmp_path):
    asked = read_table(inputs["task"] / "prompts.parquet")["messages"].to_pylist()
    write_table(inputs["task"] / "demonstrations.parquet", {"messages": asked, "answer": ["good w1"] * 60})
    spoil(inputs["sft"])
    (tmp_path / "out").mkdir()
    with pytest.raises(FloatingPointError, match="loss is nan at step 0"):
        sft.run(
            SFT(steps=4, batch=8, lr=1e-3, seed=0), {**inputs, "base": inputs["sft"]}, tmp_path / "out", LATE
        )


def test_a_reward_model_stops_at_the_step_of_a_loss_that_is_not_finite(inputs, tmp_path):
    prompts = read_table(inputs["task"] / "prompts.parquet").to_pydict()
    pairs = {name: prompts[name] for name in ("prompt_id", "question_id", "split", "messages")}
    pairs |= {"chosen": ["good w1"] * 60, "rejected": ["w1 w2"] * 60, "tied": [False] * 60}
    pairs |= {"chosen_ids": [[5, 7, 2]] * 60, "rejected_ids": [[7, 8, 2]] * 60}
    write_table(inputs["task"] / "pairs.parquet", pairs)
    loading.save(tiny.policy(), tiny.tokenizer(), inputs["task"] / "model")
    tiny.tokenizer().save_pretrained(inputs["task"] / "tokenizer")
    out = tmp_path / "rm"
    out.mkdir()
    with pytest.raises(FloatingPointError, match="loss is nan at step"):
        reward_model.run(
            reward_training(epochs=2, batch=4, lr=1e30),
            {"task": inputs["task"], "pairs": inputs["task"], "trunk": inputs["task"]},
            out,
            LATE,
        )
    lines = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    assert not lines and not (out / "model").exists()


def test_ppo_names_a_kl_that_is_not_finite(tmp_path):
    setup = toy()
    with torch.no_grad():
        setup.sft.lm_head.weight[7, 0] = float("inf")
    with pytest.raises(FloatingPointError, match=r"KL is (nan|inf|-inf) at step 0"):
        trained(setup, settings(), tmp_path)


def test_ppo_names_a_gradient_that_is_not_finite(tmp_path):
    setup = toy()
    setup.policy.model.embed_tokens.weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(FloatingPointError, match="gradient norm is nan at step 0"):
        trained(setup, settings(), tmp_path)
