"""Control runs: gold itself, its visible parts, noise, noise on the weights, and temperature."""

import signal

import numpy as np
import pyarrow as pa
import pytest
import tiny
import torch
from composing import experiment, realised
from online import inputs
from runtime import RUNTIME

from rlhf_lab.config.policies import Temperature, WeightNoise
from rlhf_lab.config.reward import GoldReward
from rlhf_lab.gold.rubric import PARTS
from rlhf_lab.models.log_ratios import log_ratios
from rlhf_lab.models.sampling import sample
from rlhf_lab.pipeline.plan import plan
from rlhf_lab.scoring import samples
from rlhf_lab.stages import given_reward
from rlhf_lab.stages.policy import temperature, untrained, weight_noise
from rlhf_lab.stages.policy.temperature import sharpen
from rlhf_lab.stages.policy.weight_noise import draw_direction, move, scale_of
from rlhf_lab.store import interrupts
from rlhf_lab.store.records import read_table

__all__ = ["inputs"]  # a fixture
LEARNERS = ("ppo", "grpo", "rloo", "online_dpo", "expert_iteration")


# --- the graph --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [*LEARNERS, "bon", "weight_noise", "temperature"])
@pytest.mark.parametrize("reward", ["learned", "gold", "visible_gold", "noise"])
def test_gold_is_optimised_where_the_run_is_marked_and_nowhere_else(policy, reward):
    asked = experiment(f"policy={policy}", f"reward={reward}")
    stages = {node.name for node in plan(asked).walk()}
    assert asked.uses_gold == (reward in ("gold", "visible_gold"))
    on_gold = {name for name in stages if name.endswith("_on_gold")}
    assert on_gold == ({f"{policy}_on_gold"} if asked.uses_gold and policy in LEARNERS else set())
    assert ("reward_model" in stages) == ("preferences" in stages) == (reward == "learned")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("policy=dpo", "reward=gold"), "learns from comparisons and never sees a reward"),
        (("policy=ppo", "reward=gold", "rm_combination=mean"), "rm_combination=single"),
        (("policy=ppo", "reward=noise", "reward_shaping=par"), "reward_shaping=none"),
        (("policy=weight_noise", "policy.kls=[1.0,0.5]"), "ascending"),
        (("policy=weight_noise", "policy.kls=[]"), "one or more"),
        (("policy=ppo", "reward=gold", "reward.parts=[courtesy,courtesy]"), "each part once"),
        (("policy=temperature", "task=every_family", "score.second_turns=2"), "no model of its own"),
        (("policy=weight_noise", "score.activations=true"), "no model of its own"),
        (("policy=temperature", "policy.temperatures=[1.0]"), "descending from below 1"),
        (("policy=temperature", "policy.temperatures=[0.5,0.0]"), "above 0"),
    ],
)
def test_what_a_control_cannot_do_is_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        experiment(*overrides)


def test_parts_that_gold_has_not_are_refused():
    with pytest.raises(ValueError, match="gold has no part 'charm'; it has claim"):
        given_reward.check(
            given_reward.GivenScore(experiment("reward=gold", "reward.parts=[charm]").reward), {}
        )


def test_the_visible_parts_need_no_truth():
    """What is believed of an answer by someone who cannot check it is the same in all of these."""
    visible = experiment("reward=visible_gold").reward.parts
    assert visible == [name for name, part in PARTS.items() if part.believed is None]


# --- rewards ----------------------------------------------------------------------------------------------------


def test_a_part_that_the_task_never_has_is_zero(monkeypatch):
    """No request of the tiny task is harmful, so gold records no refusals."""
    columns = {"gold.courtesy": np.ones(2), "gold": np.full(2, 9.0)}
    monkeypatch.setattr("rlhf_lab.gold.rewards.gold", lambda *_: lambda _: columns)
    of_parts = {}
    for parts in (["refusal"], ["refusal", "courtesy"]):
        rewards = given_reward._gold(GoldReward(parts), {"task": None}, None, RUNTIME)
        of_parts[len(parts)] = rewards([0, 1]).tolist()
    assert of_parts == {1: [0, 0], 2: [PARTS["courtesy"].weight] * 2}


def test_noise_is_standard_normal_fresh_in_every_batch_and_the_same_again():
    noise, answers = given_reward._noise(3), [[5, 6]] * 2000
    first, again = noise(range(2000), answers), noise(range(2000), answers)
    other = noise(range(1, 2001), answers)
    assert (first == again).all() and abs(np.corrcoef(first, other)[0, 1]) < 0.07
    assert abs(first.mean()) < 0.07 and abs(first.std() - 1) < 0.05  # equal answers have rewards of their own
    assert not np.allclose(first[:5], given_reward._noise(4)(range(2000), answers)[:5])


def test_the_recorded_proxy_is_the_reward_that_was_optimised(store):
    for reward, columns in (("gold", ["gold"]), ("visible_gold", None)):
        leaf = realised(store, "experiment=tiny", "policy=ppo", f"reward={reward}")
        scores = {
            name: read_table(store.path(leaf.inputs[name]) / "scores.parquet") for name in ("gold", "proxy")
        }
        parts = experiment(f"reward={reward}").reward.parts
        expected = (
            scores["gold"][columns[0]].to_numpy()
            if columns
            else sum(
                PARTS[name].weight * scores["gold"][f"gold.{name}"].to_numpy()
                for name in parts
                if f"gold.{name}" in scores["gold"].column_names  # no request of the tiny task is harmful
            )
        )
        assert scores["proxy"].column_names == ["proxy"]
        assert scores["proxy"]["proxy"].to_numpy() == pytest.approx(expected, abs=1e-5)


def test_gold_of_ids_is_that_of_answers_to_training_prompts(inputs, monkeypatch):
    monkeypatch.setattr(given_reward, "_gold", lambda *_: lambda rows: rows["prompt_id"].to_numpy())
    rewards = given_reward._gold_of_ids(None, inputs, tiny.tokenizer(), RUNTIME)
    assert rewards([0, 2, 29], [[5, 2]] * 3).tolist() == [0, 4, 58]  # every other prompt is held out


# --- weight noise and temperature -------------------------------------------------------------------------------


def test_the_scale_of_a_kl_is_found_by_bisection():
    assert scale_of(4.0, lambda scale: scale**2) == pytest.approx(2.0, rel=1e-3)
    with pytest.raises(ValueError, match=r"reaches a KL of 0\.5 nats and not 4"):
        scale_of(4.0, lambda scale: 0.5)
    with pytest.raises(ValueError, match="reaches a KL of nan nats"):
        scale_of(4.0, lambda scale: float("nan"))


def test_weights_move_by_the_scale_in_one_direction():
    policy, sft = tiny.policy(), tiny.policy()
    direction = draw_direction(sft, 0)
    move(policy, sft, direction, 0.5)
    moved = torch.cat([(a - b).flatten() for a, b in zip(policy.parameters(), sft.parameters(), strict=True)])
    assert moved.std().item() == pytest.approx(0.5, rel=0.05)
    move(policy, sft, direction, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), sft.parameters(), strict=True))


def test_the_direction_of_weight_noise_is_its_seeds_and_its_kl_is_that_on_training_prompts(
    inputs, monkeypatch
):
    directions = [draw_direction(tiny.policy(), seed)[0] for seed in (0, 0, 1)]
    assert torch.equal(directions[0], directions[1]) and not torch.equal(directions[0], directions[2])
    seen, splits = [], []
    draw, load = weight_noise.draw_direction, samples.load_prompts
    monkeypatch.setattr(weight_noise, "draw_direction", lambda *given: seen.append(given[1]) or draw(*given))
    monkeypatch.setattr(samples, "load_prompts", lambda *given: splits.append(given[2]) or load(*given))
    monkeypatch.setattr(untrained, "evaluate_at", lambda *given: None)
    weight_noise.run(WeightNoise(seed=7, prompts=6, samples=4, kls=[0.1]), inputs, inputs["task"], RUNTIME)
    assert seen == [7] and splits == ["train"]


def test_a_sharpened_model_is_the_softmax_of_its_logits_over_the_temperature():
    """KL against the model at temperature 1 is that of the two distributions, position by position."""
    cold, sft = tiny.policy(sharpness=2.0), tiny.policy(sharpness=2.0)
    sharpen(cold, 0.25).remove()
    sharpen(cold, 0.5)
    prompts, answers = [[3, 6, 4]], [[7]]
    logits = sft(input_ids=torch.tensor(prompts)).logits[0, -1].detach()
    p, q = (torch.log_softmax(logits / by, -1) for by in (0.5, 1.0))
    ratios = log_ratios(cold, sft, prompts, answers)
    assert ratios.logp[0] == pytest.approx(p[7].item(), abs=1e-5)
    assert ratios.exact[0] == pytest.approx((p.exp() * (p - q)).sum().item(), abs=1e-5)
    draws = sample(cold, prompts, 4000, 1, torch.Generator().manual_seed(0)).ids[:, 0]
    shares = torch.bincount(draws, minlength=16) / 4000
    assert (shares - p.exp()).abs().max() < 0.03


def test_the_temperatures_do_not_multiply_and_other_hooks_stay(inputs, tmp_path, monkeypatch):
    policy = tiny.policy(sharpness=2.0)
    policy.register_forward_hook(lambda *given: None)

    def evaluate_at(strengths, changed, *_):
        for strength in strengths:
            changed(policy, strength)

    monkeypatch.setattr(untrained, "evaluate_at", evaluate_at)
    temperature.run(
        Temperature(seed=0, prompts=6, samples=4, temperatures=[0.5, 0.25]), {}, tmp_path, RUNTIME
    )
    ids = torch.tensor([[3, 6, 4]])
    logits = tiny.policy(sharpness=2.0)(input_ids=ids).logits
    assert torch.allclose(policy(input_ids=ids).logits, logits / 0.25) and len(policy._forward_hooks) == 2


def test_a_signal_stops_an_untrained_policy_before_its_next_strength(inputs, tmp_path):
    tried = []

    def changed(policy, strength):
        tried.append(strength)
        signal.raise_signal(signal.SIGINT)

    config = Temperature(seed=0, prompts=6, samples=4, temperatures=[0.5, 0.25])
    with interrupts.listening(), pytest.raises(interrupts.Interrupted):
        untrained.evaluate_at(config.temperatures, changed, config, inputs, tmp_path, RUNTIME)
    assert tried == [0.5] and not (tmp_path / "samples.parquet").exists()


def test_untrained_controls_are_recorded_as_trained_policies_are(store):
    for policy, strengths in (("weight_noise", [0.1, 1.0]), ("temperature", [0.7, 0.3])):
        node = realised(store, "experiment=tiny", f"policy={policy}", "policy.samples=64", stage=policy)
        rows = read_table(store.path(node) / "samples.parquet").to_pandas()
        kl = rows.groupby("checkpoint")["kl"].mean()
        assert (
            kl.index.tolist() == list(range(len(strengths) + 1)) and kl[0] == 0 and kl.is_monotonic_increasing
        )
        if policy == "weight_noise":  # they were searched for on other prompts
            assert kl[1:].to_numpy() == pytest.approx(strengths, rel=0.5)
        assert set(pa.parquet.read_schema(store.path(node) / "reference.parquet").names) >= {"forward_kl"}


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["ppo", "grpo"])
def test_gold_itself_is_learned(store, policy):
    """Gold rises by more than four standard errors over prompts on the oracle's way."""
    longer = [
        "policy.steps=60",
        "policy.rollout=64",
        "policy.evaluations=2",
        "policy.samples=32",
        "policy.lr=2e-3",
    ]
    leaf = realised(store, "experiment=tiny", "sft.steps=100", f"policy={policy}", "reward=gold", *longer)
    rows = read_table(
        store.path(leaf.inputs["samples"]) / "samples.parquet", ["prompt_id", "checkpoint"]
    ).to_pandas()
    rows["gold"] = read_table(store.path(leaf.inputs["gold"]) / "scores.parquet")["gold"].to_numpy()
    by_prompt = rows.groupby(["prompt_id", "checkpoint"])["gold"].mean().unstack()
    risen = by_prompt.iloc[:, -1] - by_prompt.iloc[:, 0]
    assert risen.mean() > 4 * risen.std() / np.sqrt(len(risen)) > 0
