"""What all trainers on rollouts must do, and the options they share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from online import METHODS, OWN, inputs, settings, toy, trained, trainer
from runtime import RUNTIME
from stopped import assert_ends_alike, signalled_at

from rlhf_lab.config.online import GRPO, PPO, RLOO, Divergence, Online, OnlineDPO, PairLoss, Place
from rlhf_lab.config.registry import GROUPS
from rlhf_lab.functional import policy_gradient as pg
from rlhf_lab.models import loading
from rlhf_lab.models.log_ratios import log_ratios
from rlhf_lab.models.tokenization import prompts_ids
from rlhf_lab.scoring import reward_models
from rlhf_lab.stages import registry
from rlhf_lab.stages.policy.online.rollouts import token_logps
from rlhf_lab.stages.policy.online.setup import load_setup
from rlhf_lab.store.records import read_table

__all__ = ["inputs"]  # a fixture
LONG = {"steps": 60, "rollout": 64, "minibatches": 1, "lr": 4e-3}
SLOWLY = [pytest.param(method, marks=pytest.mark.slow) for method in (GRPO, RLOO, OnlineDPO)]
PENALTIES = [  # all of PPO's; of the others each divergence once, and each place
    *((PPO, divergence, place) for divergence in Divergence for place in Place),
    *(
        pytest.param(method, divergence, place, marks=pytest.mark.slow)
        for method in (GRPO, RLOO)
        for divergence, place in (
            (Divergence.reverse_kl, Place.reward),
            (Divergence.forward_kl, Place.loss),
            (Divergence.sqrt_chi2, Place.loss),
        )
    ),
]


def stage(config: Any) -> Any:
    return registry.module(type(config).STAGE)


@pytest.mark.parametrize("method", METHODS)
def test_it_begins_to_learn_what_is_rewarded(method: Any, tmp_path: Path) -> None:
    lines = trained(toy(), settings(method, **(LONG | {"steps": 16})), tmp_path)
    assert lines[-1]["reward"] > lines[0]["reward"] + 0.2 and lines[-1]["kl"] > lines[0]["kl"]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_it_learns_what_is_rewarded(method: Any, tmp_path: Path) -> None:
    beta = {"beta": 0.05} if method is OnlineDPO else {}
    lines = trained(toy(), settings(method, **LONG, **beta), tmp_path)
    assert lines[0]["reward"] < 1.5 and lines[-1]["reward"] > 9
    assert abs(lines[0]["kl"]) < 1e-4 and lines[-1]["kl"] > 8


@pytest.mark.slow
@pytest.mark.parametrize("loss", PairLoss)
def test_pairs_pull_back_to_sft(loss: PairLoss, tmp_path: Path) -> None:
    ends = [
        trained(toy(), settings(OnlineDPO, **LONG, beta=beta, loss=loss), tmp_path)[-1]["kl"]
        for beta in (0.1, 5.0)
    ]
    assert ends[1] < ends[0] / 2


# A change of each option that trains, from a run in which every one of them is at work.
BUSY: dict[str, Any] = {
    "steps": 10, "lr": 1e-2, "eos_penalty": 0.5, "reference_ema": 0.1, "kl_coef": 0.1, "kl_target": 1e3, "clip": 0.1,
    "value_clip": 0.2, "gamma": 0.9, "gae_lambda": 0.7, "ptx_coef": 0.5,
}  # fmt: skip
CHANGED: dict[str, Any] = {
    "seed": 1, "steps": 8, "rollout": 8, "minibatches": 1, "passes": 1, "lr": 5e-3, "warmup": 1, "beta2": 0.5,
    "eos_penalty": 2.0, "reference_ema": 0.5, "clip": 10.0, "divergence": Divergence.sqrt_chi2, "kl_coef": 0.3,
    "kl_place": Place.loss, "kl_target": 1e-3, "critic_lr": 1e-3, "value_clip": 0.01, "gamma": 0.5, "gae_lambda": 1.0,
    "ptx_coef": 0.1, "ptx_batch": 2, "group": 2, "beta": 0.1, "loss": PairLoss.ipo,
}  # fmt: skip
EVALUATING = {"prompts", "samples", "evaluations", "kl_budget"}  # the options that change no step


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_option_of_a_method_changes_what_is_learned(method: Any, tmp_path: Path) -> None:
    """An option that does not reach the trainer, or the equation that it belongs to, would leave the weights."""
    options = {field.name for field in fields(method)}
    busy = {name: value for name, value in BUSY.items() if name in options}

    def weights(**changed: Any) -> torch.Tensor:
        setup = toy(follows=True, sharpness=2.0)
        training = trainer(setup, settings(method, **busy | changed), tmp_path, [])
        training.train()
        policy = training.policy_to_save()
        return torch.cat([value.detach().flatten() for value in policy.parameters()])

    plain = weights()
    assert torch.equal(plain, weights())
    ignored = [
        name for name in sorted(options - EVALUATING) if torch.equal(plain, weights(**{name: CHANGED[name]}))
    ]
    assert ignored == []


def test_the_reward_counts_in_its_sds_on_answers_of_sft(tmp_path: Path) -> None:
    setup = replace(toy(), mean=0.7, sd=2.5)
    with torch.no_grad():
        rollout = trainer(setup, settings(), tmp_path, [])._roll_out(range(16))
    counts = (rollout.batch.answers == tiny.GOOD).float().mul(rollout.mask).sum(1)
    assert len(counts.unique()) > 1 and rollout.score == pytest.approx((counts - 0.7) / 2.5)


def test_rollouts_and_the_order_of_prompts_have_the_seed_of_the_policy(tmp_path: Path) -> None:
    training = trainer(toy(), settings(seed=3), tmp_path, [])
    assert training.args.seed == 3
    assert {name: drawn.initial_seed() for name, drawn in training.generators.items()} == {
        "rollouts": 3,
        "documents": 3,
    }


def test_prompts_and_their_rewards_are_those_of_the_training_split(inputs: Mapping[str, Path]) -> None:
    """Prompts of the fixture are in turn for training and held out; the reward of a row is that of its prompt."""
    setup = load_setup(settings(), inputs, RUNTIME)
    asked = read_table(inputs["task"] / "prompts.parquet")["messages"].to_pylist()
    assert setup.prompts == prompts_ids(tiny.tokenizer(), asked[::2], 8)
    answers, model = [[tiny.GOOD, 7, tiny.EOS]] * 30, loading.load_reward_model(inputs["proxy"] / "model")
    rewards = reward_models.reward(model, setup.prompts, answers, 64)
    assert len(np.unique(rewards)) > 10 and setup.reward(range(30), answers) == pytest.approx(
        rewards, abs=1e-5
    )


@pytest.mark.parametrize(("method", "divergence", "place"), PENALTIES)
def test_every_penalty_binds(method: Any, divergence: Divergence, place: Place, tmp_path: Path) -> None:
    strength = (
        0.3 if divergence is Divergence.sqrt_chi2 else 1.0
    )  # no gain pays for 1: it is at most SD x sqrt(chi2)
    changes = {"kl_coef": strength, "divergence": divergence, "kl_place": place}
    if (divergence, place) == (Divergence.forward_kl, Place.reward):
        with pytest.raises(ValueError, match="must be loss with forward_kl"):
            settings(method, **changes)
        return
    held = trained(toy(), settings(method, **(LONG | {"steps": 24}), **changes), tmp_path)
    assert held[-1]["reward"] > held[0]["reward"] + 0.2, "it still learns"
    assert held[-1]["kl"] < 4, "without a penalty it is above 10 by then"


@pytest.mark.parametrize("method", [PPO, *SLOWLY[:2]])
def test_the_coefficient_adapts_until_the_target_is_held(method: Any, tmp_path: Path) -> None:
    lines = trained(toy(), settings(method, **(LONG | {"steps": 20}), kl_coef=0.1, kl_target=0.05), tmp_path)
    coefficients = [line["kl_coef"] for line in lines]
    assert coefficients[0] == pytest.approx(0.1) and coefficients[1] < 0.1, "at no KL it falls by 2 %"
    assert coefficients[-1] > min(coefficients), "above the target it rises"


@pytest.mark.parametrize("method", METHODS)
def test_a_budget_of_kl_ends_the_run(method: Any, inputs: Mapping[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    config = settings(method, steps=200, lr=1e-2, kl_budget=0.3, evaluations=2)
    stage(config).run(config, inputs, out, RUNTIME)
    rows = read_table(out / "samples.parquet").to_pandas()
    last = rows["checkpoint"].max()
    assert 0 < last < 200 and last % 4 == 0, "it ends with a rollout, and what it came to is sampled"
    lines = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    assert max(line["kl"] for line in lines if "kl" in line) >= 0.3


def test_an_answer_without_end_costs_the_penalty(tmp_path: Path) -> None:
    free, charged = (trainer(toy(), settings(eos_penalty=fee), tmp_path, []) for fee in (0.0, 2.5))
    rows = list(range(16))
    with torch.no_grad():
        one, other = free._roll_out(rows), charged._roll_out(rows)
    finished = one.batch.answers.gather(1, one.mask.sum(1, keepdim=True) - 1)[:, 0] == tiny.EOS
    assert 0 < finished.sum() < 16
    assert one.score - other.score == pytest.approx(2.5 * (~finished).float())


@pytest.mark.slow
def test_a_reference_that_follows_is_between_sft_and_policy_and_the_kl_axis_stays(tmp_path: Path) -> None:
    setup = toy(follows=True)
    lines: list[dict[str, float]] = []
    training = trainer(setup, settings(**LONG, reference_ema=0.1, kl_coef=0.2), tmp_path, lines)
    training.train()
    assert setup.sft.state_dict().keys() == setup.reference.state_dict().keys()

    @torch.no_grad()
    def apart(one: Any, other: Any) -> float:
        return sum(float((a - b).norm()) for a, b in zip(one.parameters(), other.parameters(), strict=True))

    policy = training.policy_to_save()
    assert 0 < apart(setup.reference, policy) < apart(setup.sft, policy)
    assert torch.equal(setup.sft.lm_head.weight, toy().sft.lm_head.weight), "SFT stays as it was"
    rows = list(range(16))
    with torch.no_grad():
        rollout = training._roll_out(rows)
        against_sft = ((rollout.logps - token_logps(setup.sft, rollout.batch)) * rollout.mask).sum(1).mean()
    assert training.kl_from_sft == pytest.approx(float(against_sft), abs=1e-4)
    assert training.kl_from_sft > training.kl_from_reference + 0.5


@pytest.mark.slow
def test_documents_mixed_in_are_not_forgotten(tmp_path: Path) -> None:
    def loss(ptx_coef: float) -> float:
        lines = trained(toy(), settings(**LONG, ptx_coef=ptx_coef), tmp_path)
        assert ("pretraining_loss" in lines[-1]) == bool(ptx_coef)
        return lines[-1].get("pretraining_loss", float("nan"))

    assert loss(1.0) < 1.5 and np.isnan(loss(0.0))  # log 16 = 2.8 to begin with


# --- TRL's own losses ------------------------------------------------------------------------------------------


def rolled(method: Any, out: Path, **changes: Any) -> tuple[Any, dict[str, Any]]:
    """A trainer whose policy has moved since it sampled, and what its loss is computed from."""
    setup = toy(sharpness=2.0)
    training = trainer(setup, settings(method, minibatches=1, **changes), out, [])
    inputs = training._generate_and_score_completions([{"prompt": row // 4} for row in range(16)])
    with torch.no_grad():
        for value in setup.policy.parameters():
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(3)) * 0.05)
    training.current_gradient_accumulation_steps = 1
    return training, inputs


def test_the_penalty_in_the_loss_of_grpo_is_trls_own(tmp_path: Path) -> None:
    training, inputs = rolled(GRPO, tmp_path, kl_coef=0.3, kl_place=Place.loss)
    ours = training._compute_loss(training.model, inputs)
    training.kl_coef, training.beta = 0.0, 0.3
    theirs = training._compute_loss(training.model, inputs | {"ref_per_token_logps": inputs["ref_logps"]})
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


@pytest.mark.parametrize("method", [GRPO, RLOO])
def test_trls_log_probabilities_are_ours(method: Any, tmp_path: Path) -> None:
    """Also of TRL's own forward, which has the same tokens, prompts padded on the left."""
    training, inputs = rolled(method, tmp_path)
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    asked = (training.model, ids, mask, inputs["completion_ids"].shape[1])
    ours = training._get_per_token_logps_and_entropies(*asked)[0]
    theirs = super(type(training).__mro__[1], training)._get_per_token_logps_and_entropies(*asked)[0]
    tokens = inputs["completion_mask"].bool()
    assert ours[tokens].detach() == pytest.approx(theirs[tokens].detach(), abs=1e-4)


def test_advantages_by_hand() -> None:
    rewards = torch.tensor([1.0, 3.0, 5.0, 5.0])
    assert pg.leave_one_out_advantages(rewards, 2).tolist() == [-2.0, 2.0, 0.0, 0.0]
    assert pg.leave_one_out_advantages(torch.tensor([1.0, 2.0, 6.0]), 3) == pytest.approx(
        torch.tensor([1 - 4, 2 - 3.5, 6 - 1.5])
    )
    sd = 2**0.5
    assert pg.group_advantages(rewards, 2) == pytest.approx(torch.tensor([-1 / sd, 1 / sd, 0, 0]), abs=1e-3)


def test_pair_losses_by_hand() -> None:
    difference = torch.tensor([2.0, -1.0])
    sigmoid = (np.log1p(np.exp(-0.2)) + np.log1p(np.exp(0.1))) / 2
    assert float(pg.pair_loss(difference, 0.1, PairLoss.sigmoid)) == pytest.approx(sigmoid)
    assert float(pg.pair_loss(difference, 0.1, PairLoss.ipo)) == pytest.approx((9 + 36) / 2)


def test_the_chosen_answer_of_a_pair_stands_first(tmp_path: Path) -> None:
    setup = toy(lambda rows, answers: np.array([sum(answer) for answer in answers], dtype=np.float32))
    training: Any = trainer(setup, settings(OnlineDPO), tmp_path, [])
    inputs = training._generate_and_score_completions([{"prompt": row // 2} for row in range(16)])
    said = (inputs["ids"][..., -inputs["answer_mask"].shape[-1] :] * inputs["answer_mask"]).sum(-1)
    assert said.shape == (8, 2) and (said[:, 0] >= said[:, 1]).all() and (said[:, 0] > said[:, 1]).any()
    asked = inputs["ids"][..., : -inputs["answer_mask"].shape[-1]]
    assert torch.equal(asked[:, 0], asked[:, 1]), "both answer the same prompt"


# --- the stage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_stage_leaves_what_the_others_read(
    method: Any, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    stage(settings(method)).run(settings(method), inputs, out, RUNTIME)
    rows = read_table(out / "samples.parquet").to_pandas()
    assert sorted(rows["checkpoint"].unique()) == [0, 4, 8]
    first = rows[rows["checkpoint"] == 0]
    assert (first[["kl", "k1", "k2", "k3", "chi2"]] == 0).all(axis=None)
    assert (rows[rows["checkpoint"] == 8]["kl"].mean()) > 0
    reference = read_table(out / "reference.parquet").to_pandas()
    assert len(reference) == 3 * 6 and (reference["forward_kl"] >= 0).all()
    assert (reference[reference["checkpoint"] == 0]["forward_kl"] == 0).all()
    assert reference[reference["checkpoint"] == 8]["forward_kl"].mean() > 0
    assert (out / "model" / "model.safetensors").exists() and (out / "tokenizer").is_dir()


def test_the_forward_kl_is_that_of_sfts_answers(inputs: Mapping[str, Path], tmp_path: Path) -> None:
    from rlhf_lab.models import loading
    from rlhf_lab.models.tokenization import load_tokenizer
    from rlhf_lab.scoring.samples import load_prompts, spread

    out, config = tmp_path / "out", settings(lr=1e-2)
    out.mkdir()
    stage(config).run(config, inputs, out, RUNTIME)
    sft, policy = (loading.load_language_model(folder / "model") for folder in (inputs["sft"], out))
    rows = read_table(out / "samples.parquet").to_pandas()
    said = rows[(rows["checkpoint"] == 0) & (rows["sample"] == 0)]["token_ids"].tolist()
    prompts = spread(
        load_prompts(inputs["task"], load_tokenizer(out / "tokenizer"), "heldout"), config.prompts
    )
    expected = log_ratios(sft, policy, prompts.ids, [list(map(int, ids)) for ids in said]).exact
    reference = read_table(out / "reference.parquet").to_pandas()
    last = reference[reference["checkpoint"] == 8]["forward_kl"]
    np.testing.assert_allclose(last, expected, rtol=1e-4, atol=1e-5)


HARD: dict[type, dict[str, Any]] = {  # state that a checkpoint must carry beside weights and moments
    PPO: {"ptx_coef": 0.5, "kl_coef": 0.1, "kl_target": 1.0},
    GRPO: {"reference_ema": 0.1, "kl_coef": 0.1, "kl_place": Place.loss},
    RLOO: {"reference_ema": 0.1, "kl_coef": 0.1, "kl_target": 1.0},
    OnlineDPO: {"reference_ema": 0.1},
}


@pytest.mark.parametrize("method", [PPO, *SLOWLY])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    method: Any, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    config = settings(method, steps=16, **HARD[method])
    run = partial(stage(config).run, config, inputs)
    assert_ends_alike(run, tmp_path, partial(signalled_at, 8), expected=8)


def test_a_rollout_that_needs_more_prompts_than_there_are_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs 100 prompts, the task has 80 .* choose a smaller rollout"):
        trained(toy(), settings(GRPO, rollout=400, minibatches=1), tmp_path)


def test_every_method_is_here() -> None:
    """That is, every trained one of the schema that samples rollouts."""
    known = {kind for kind in GROUPS["policy"].values() if issubclass(kind, Online)}
    assert set(METHODS) == set(OWN) == known


# --- beside TRL's own trainers -----------------------------------------------------------------------------------

SEEDS = range(5)
CURVE = {"steps": 40, "rollout": 64, "minibatches": 1, "group": 8, "lr": 3e-3, "warmup": 0, "beta2": 0.999}


def bare_curve(method: Any, seed: int, out: Path) -> np.ndarray:
    """(rollouts,) mean reward of TRL's trainer as it comes, on the same setup."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

    setup, tokenizer, seen = toy(), tiny.tokenizer(), []
    setup.policy.save_pretrained(out / "policy")
    tokenizer.save_pretrained(out / "policy")

    def score(prompts: list[str], completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
        rewards = setup.reward([], completion_ids)
        seen.append(float(rewards.mean()))
        return rewards.tolist()

    kind, arguments = {GRPO: (GRPOTrainer, GRPOConfig), RLOO: (RLOOTrainer, RLOOConfig)}[method]
    training = kind(
        model=str(out / "policy"),
        reward_funcs=score,
        args=arguments(
            output_dir=str(out), seed=seed, max_steps=CURVE["steps"], learning_rate=CURVE["lr"], num_iterations=2,
            lr_scheduler_type="constant", per_device_train_batch_size=64, num_generations=8, beta=0.0,
            steps_per_generation=1, max_completion_length=12, use_cpu=True, bf16=False, disable_dropout=True,
            activation_checkpointing=False, save_strategy="no", disable_tqdm=True, report_to="none",
            dataloader_pin_memory=False, logging_strategy="no",
        ),
        train_dataset=Dataset.from_dict({"prompt": [tokenizer.decode(ids) for ids in setup.prompts]}),
        processing_class=tokenizer,
    )  # fmt: skip
    training.remove_callback(PrinterCallback)
    training.train()
    return np.array(seen)


@pytest.mark.slow
@pytest.mark.parametrize("method", [GRPO, RLOO])
def test_learning_curves_are_those_of_the_bare_trainer(method: Any, tmp_path: Path) -> None:
    """Over seeds, at a third, two thirds and the end: apart by less than 3 SE, and by less than a token."""
    ours = np.array(
        [
            [line["reward"] for line in trained(toy(), settings(method, **CURVE, seed=s), tmp_path)]
            for s in SEEDS
        ]
    )
    theirs = np.array([bare_curve(method, seed, tmp_path) for seed in SEEDS])
    assert ours.shape == theirs.shape == (5, 20)
    for at in (6, 13, 19):
        one, other = ours[:, at], theirs[:, at]
        se = np.sqrt(one.var(ddof=1) / 5 + other.var(ddof=1) / 5)
        assert abs(one.mean() - other.mean()) < min(3 * se + 0.1, 1.0), (at, one, other)
    assert ours[:, -1].mean() > ours[:, 0].mean() + 2, "both learn"
