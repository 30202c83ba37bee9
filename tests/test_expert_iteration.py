"""Expert iteration: the best of the policy's own answers are learned, round by round, and gold has no say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from online import inputs
from runtime import ALWAYS_SAVED, RUNTIME
from stopped import assert_ends_alike, killed_at, signalled_at

from rlhf_lab.config.policies import ExpertIteration
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.models import loading, tokenization
from rlhf_lab.scoring import reward_models
from rlhf_lab.stages.policy import expert_iteration
from rlhf_lab.store.records import read_table

__all__ = ["inputs"]  # a fixture: task, sft and proxy


def settings(**changes: Any) -> ExpertIteration:
    values: dict[str, Any] = {
        "seed": 0, "prompts": 6, "samples": 4, "rounds": 3, "asked": 20, "best_of": 4, "steps": 4, "batch": 8,
        "lr": 1e-2, "beta2": 0.95,
    }  # fmt: skip
    return ExpertIteration(**(values | changes))


def made(config: ExpertIteration, inputs: Mapping[str, Path], name: str) -> Path:
    out = inputs["task"].parent / name
    out.mkdir()
    expert_iteration.run(config, inputs, out, RUNTIME)
    return out


def test_the_best_answer_to_each_prompt_is_kept() -> None:
    asked = np.array([7, 3])
    answers = [[5], [5, 5], [6], [5], [5, 5], [5, 5, 5]]

    def reward(rows: Sequence[int], answers: Sequence[Sequence[int]]) -> np.ndarray:
        assert list(rows) == [7, 7, 7, 3, 3, 3]
        return np.array([len(a) if row == 7 else -len(a) for row, a in zip(rows, answers, strict=True)])

    best, rewards = expert_iteration.best_answers(asked, answers, reward)
    assert best == [[5, 5], [5]]
    assert rewards.tolist() == [[1, 2, 1], [-1, -2, -3]]


def test_rewards_go_up_round_by_round_and_each_round_is_evaluated(inputs: Mapping[str, Path]) -> None:
    out = made(settings(rounds=6, steps=8, asked=30), inputs, "out")
    rows = read_table(out / "samples.parquet").to_pydict()
    steps = [0, 8, 16, 24, 32, 40, 48]
    assert sorted(set(rows["checkpoint"])) == steps and len(rows["text"]) == 7 * 6 * 4
    assert set(rows["prompt_id"]) <= set(range(1, 60, 2))  # held-out prompts only
    kl = np.array(rows["kl"]).reshape(7, -1).mean(1)
    assert kl[0] == 0 and 0 < kl[1] < kl[-1]
    lines = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    mean, best = ([line[name] for line in lines if name in line] for name in ("reward", "best_reward"))
    assert len(mean) == 6 and (np.subtract(best, mean) > 0).all()
    assert mean[-1] > best[0]  # in the end any answer is better than the best at first
    assert [line["step"] for line in lines if "loss" in line] == steps[1:]
    assert read_table(out / "reference.parquet").num_rows == 7 * 6
    assert (out / "tokenizer/tokenizer.json").exists()
    again = loading.load_language_model(out / "model")
    assert "forward" not in vars(again)


@pytest.mark.parametrize("model", [tiny.policy, tiny.gpt2])
def test_what_is_learned_are_the_best_answers_with_their_eos_and_prompts_without_loss(
    model: Any, inputs: Mapping[str, Path]
) -> None:
    config = settings()
    prompts, answers = [[1, 3, 6, 4], [1, 3, 4]], [[5, 6, tiny.EOS], [5, 5, 7, 8]]
    arguments = expert_iteration._arguments(config, inputs["task"], RUNTIME)
    policy = model()
    trainer = expert_iteration._trainer(policy, tiny.tokenizer(), prompts, answers, arguments)
    batch = next(iter(trainer.get_train_dataloader()))
    policy.train()  # without dropout, which GPT-2 brings
    learned = sorted((row[row != -100]).tolist() for row in batch["labels"])
    assert learned == sorted(answers)
    logps = []
    for prompt, answer in zip(prompts, answers, strict=True):
        logits = policy(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
        logps += [float(logits[len(prompt) - 1 + t, token].detach()) for t, token in enumerate(answer)]
    assert float(trainer.compute_loss(policy, batch).detach()) == pytest.approx(-np.mean(logps), rel=1e-4)


def test_a_round_asks_each_prompt_once_and_all_if_there_are_fewer(
    inputs: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []
    keep = expert_iteration.best_answers

    def spy(rows: np.ndarray, *rest: Any) -> Any:
        asked.append(rows.tolist())
        return keep(rows, *rest)

    monkeypatch.setattr(expert_iteration, "best_answers", spy)
    made(settings(rounds=2, steps=1), inputs, "some")
    assert [len(set(rows)) for rows in asked] == [20, 20] and asked[0] != asked[1]
    made(settings(rounds=1, steps=1, asked=500), inputs, "all")
    assert sorted(asked[-1]) == list(range(30))


def test_a_proxy_with_another_tokenizer_reads_the_text(inputs: Mapping[str, Path]) -> None:
    """Its vocabulary is permuted: read by ids it would see other words."""
    own = reward_models.rewards_of_split(inputs["task"], inputs["proxy"], tiny.tokenizer(), "train", RUNTIME)
    order = [0, 1, 2, *reversed(range(3, 16))]
    other = tiny.reward_model(1)
    with torch.no_grad():
        embeddings = other.model.embed_tokens.weight
        embeddings.copy_(embeddings.clone()[order])
    loading.save(other, tiny.tokenizer([tiny.WORDS[i] for i in order]), inputs["proxy"] / "model")
    foreign = reward_models.rewards_of_split(
        inputs["task"], inputs["proxy"], tiny.tokenizer(), "train", RUNTIME
    )
    answers = [[5, 6, tiny.EOS], [7, 8, 9, 10, 5, 5]]
    assert foreign([0, 3], answers) == pytest.approx(own([0, 3], answers), abs=1e-5)
    assert abs(own([0], answers[:1])[0] - own([3], answers[:1])[0]) > 1e-4  # the prompt counts


def test_prompts_and_rewards_are_those_of_the_training_split(
    inputs: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    rewards_of_split, trainer = reward_models.rewards_of_split, expert_iteration._trainer

    def watched_rewards(*arguments: Any) -> Any:
        seen["split"] = arguments[3]
        return rewards_of_split(*arguments)

    def watched_trainer(policy: Any, tokenizer: Any, prompts: Any, *more: Any) -> Any:
        seen["prompts"] = prompts
        return trainer(policy, tokenizer, prompts, *more)

    monkeypatch.setattr(reward_models, "rewards_of_split", watched_rewards)
    monkeypatch.setattr(expert_iteration, "_trainer", watched_trainer)
    made(settings(rounds=1, steps=1, asked=30), inputs, "out")
    asked = read_table(inputs["task"] / "prompts.parquet")["messages"].to_pylist()
    training = tokenization.prompts_ids(tiny.tokenizer(), asked[::2], 8)  # in turn for training and held out
    assert sorted(map(list, seen["prompts"])) == sorted(training) and seen["split"] == "train"


def test_the_same_samples_twice_and_others_with_another_seed(inputs: Mapping[str, Path]) -> None:
    first = made(settings(), inputs, "first")
    torch.manual_seed(99)  # what was drawn before must not matter
    second = made(settings(), inputs, "second")
    other = made(settings(seed=1), inputs, "other")
    samples = [(out / "samples.parquet").read_bytes() for out in (first, second, other)]
    assert samples[0] == samples[1] != samples[2]


def test_a_loss_or_reward_that_is_not_finite_stops_the_run(inputs: Mapping[str, Path]) -> None:
    with pytest.raises(FloatingPointError, match="loss is nan at step"):
        made(settings(lr=1e30), inputs, "loss")
    broken = tiny.reward_model(1)
    with torch.no_grad():
        broken.score.weight.fill_(float("nan"))
    loading.save(broken, tiny.tokenizer(), inputs["proxy"] / "model")
    with pytest.raises(FloatingPointError, match="reward is nan at step 0"):
        made(settings(), inputs, "reward")


@pytest.mark.parametrize(
    "stops, runtime",
    [(partial(signalled_at, 6), RUNTIME), (partial(killed_at, 10, line="loss"), ALWAYS_SAVED)],
)
def test_a_run_that_was_stopped_or_killed_goes_on_from_its_last_whole_round(
    stops: Any, runtime: Runtime, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    """Told to stop in the second round it ends that first; killed in the third it has two."""
    run = partial(expert_iteration.run, settings(), inputs)
    assert_ends_alike(run, tmp_path, lambda patch: stops(monkeypatch=patch), 8, runtime)


def test_prompts_answers_and_batches_are_drawn_by_the_seed(
    inputs: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlhf_lab.scoring import heldout_evaluation

    prompts, answers = [], []
    rng, generator = np.random.default_rng, heldout_evaluation.generator
    monkeypatch.setattr(np.random, "default_rng", lambda seed=None: prompts.append(seed) or rng(seed))
    monkeypatch.setattr(
        heldout_evaluation, "generator", lambda seed, step: answers.append(seed) or generator(seed, step)
    )
    made(settings(seed=7, rounds=1, steps=1), inputs, "out")
    assert 7 in prompts and answers[0] == 7
    assert expert_iteration._arguments(settings(seed=7), inputs["task"], RUNTIME)["seed"] == 7
