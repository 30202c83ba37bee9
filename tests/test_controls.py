"""Control runs: gold itself, its visible parts, noise, noise on the weights, and temperature."""

import json
from collections import Counter
from dataclasses import fields, replace
from functools import partial
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
import tiny
import torch
from composing import experiment, realised
from online import inputs
from runtime import ALWAYS_SAVED, RUNTIME
from scipy.stats import chi2
from stopped import assert_ends_alike, killed_at, signalled_at

from rlhf_lab.config.online import PPO
from rlhf_lab.config.policies import Temperature, WeightNoise
from rlhf_lab.config.reward import GoldReward
from rlhf_lab.gold import guide
from rlhf_lab.gold import rewards as rewards_module
from rlhf_lab.gold.rubric import PARTS
from rlhf_lab.models import loading
from rlhf_lab.models.log_ratios import log_ratios
from rlhf_lab.models.sampling import sample
from rlhf_lab.pipeline.plan import plan
from rlhf_lab.scoring import samples
from rlhf_lab.scoring.heldout_evaluation import generator
from rlhf_lab.stages import given_reward
from rlhf_lab.stages.policy import temperature, untrained, weight_noise
from rlhf_lab.stages.policy.temperature import sharpen
from rlhf_lab.stages.policy.weight_noise import draw_direction, move, scale_of
from rlhf_lab.store.records import read_table, runs

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


def test_a_trainer_of_another_package_takes_no_given_reward():
    """Its stage knows reward models alone; a subclass of a method whose stage is here is trained there."""

    class TheirPPO(PPO):
        STAGE: ClassVar[str] = "their_lab.ppo"

    class OtherValues(PPO):
        pass

    asked = experiment("policy=ppo", "reward=gold")
    values = {field.name: getattr(asked.policy, field.name) for field in fields(PPO)}
    with pytest.raises(ValueError, match=r"TheirPPO is another package's method.*use reward=learned"):
        replace(asked, policy=TheirPPO(**values))
    assert "ppo_on_gold" in {node.name for node in plan(replace(asked, policy=OtherValues(**values))).walk()}


def test_parts_that_gold_has_not_are_refused():
    with pytest.raises(ValueError, match="gold has no part 'charm'; it has claim"):
        given_reward.check(
            given_reward.GivenScore(experiment("reward=gold", "reward.parts=[charm]").reward), {}
        )
    guide_task = experiment("task=field_guide")
    with pytest.raises(ValueError, match="gold has no part 'claim'; it has truth"):
        given_reward.check(given_reward.GivenScore(GoldReward(["claim"])), {"task": guide_task.task})


def test_the_visible_parts_need_no_truth():
    """What is believed of an answer by someone who cannot check it is the same in all of these."""
    visible = experiment("reward=visible_gold").reward.parts
    assert visible == [name for name, part in PARTS.items() if part.believed is None]
    visible = experiment("reward=visible_gold", "task=field_guide").reward.parts
    assert visible == [name for name, part in guide.PARTS.items() if part.visible]


# --- rewards ----------------------------------------------------------------------------------------------------


def test_a_part_that_the_task_never_has_is_zero(monkeypatch):
    """No request of the tiny task is harmful, so gold records no refusals."""
    columns = {"gold.courtesy": np.ones(2), "gold": np.full(2, 9.0)}
    monkeypatch.setattr("rlhf_lab.gold.rewards.gold", lambda *_: lambda _: columns)
    monkeypatch.setattr(
        "rlhf_lab.gold.rewards.weights", lambda _: rewards_module.parts("synthetic_assistant")
    )
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


def test_the_recorded_noise_is_other_noise_in_every_replicate(pipelines):
    proxies = []
    for replicate in ("r0", "r1"):
        asked = ("experiment=tiny", "policy=ppo", "reward=noise", f"replicate={replicate}")
        node = realised(pipelines, *asked, stage="given_score")
        proxies.append(read_table(pipelines.path(node) / "scores.parquet")["proxy"].to_numpy())
    assert len(proxies[0]) == 12 * 8 * 3 and abs(np.corrcoef(*proxies)[0, 1]) < 0.25
    assert abs(proxies[0].mean()) < 0.3 and abs(proxies[0].std() - 1) < 0.2


def test_a_gold_that_raises_fails_the_jobs_that_learn_from_it_in_a_line_each(lab, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no truth today\nand none tomorrow")

    monkeypatch.setattr(given_reward, "_gold_of_ids", broken)
    answer = lab("-m", "experiment=tiny", "policy=ppo", "reward=gold,noise")
    text = answer.out + answer.err
    assert answer.code == 1 and text.count("RuntimeError: no truth today") == 1
    assert "Traceback" not in text and "tomorrow" not in text
    assert [run.status for run in runs("tiny", tmp_path / "store")] == ["failed", "made"]


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


def test_weight_noise_has_the_kl_that_was_asked_for_on_training_prompts(inputs, tmp_path, monkeypatch):
    """Within a twentieth, on as many answers as the search reads; drawn with other numbers within a fifth."""
    policy, sft = (loading.load_language_model(inputs["sft"] / "model", "cpu") for _ in range(2))
    prompts = samples.load_prompts(inputs["task"], tiny.tokenizer(), "train").ids
    tokens = json.loads((inputs["task"] / "task.json").read_text())["answer_tokens"]

    def kl(n, draws):
        answers = sample(policy, prompts, n, tokens, draws).tokens()
        asked = [prompt for prompt in prompts for _ in range(n)]
        return log_ratios(policy, sft, asked, answers).exact.mean()

    def evaluate_at(strengths, change, *_):
        scale = None
        for strength in strengths:
            scale = change(policy, strength, scale)
            assert kl(1, generator(3, 0)) == pytest.approx(strength, rel=0.05)
            assert kl(100, generator(4, 0)) == pytest.approx(strength, rel=0.2)

    monkeypatch.setattr(untrained, "evaluate_at", evaluate_at)
    weight_noise.run(
        WeightNoise(seed=3, prompts=6, samples=4, kls=[0.1, 0.5, 2.0]), inputs, tmp_path, RUNTIME
    )


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


def test_whole_sequences_of_a_sharpened_model_have_the_probabilities_of_an_enumeration():
    """All 241 answers of at most two tokens; a chance is the product over tokens of p^(1 / T), normalised."""
    cold, sft, prompt = tiny.policy(sharpness=2.0), tiny.policy(sharpness=2.0), [3, 6, 4]
    sharpen(cold, 0.5)

    def next_token(prefix):
        return sft(input_ids=torch.tensor([prefix])).logits[0, -1].detach().double().log_softmax(-1)

    def sharpened(logp):
        raised = logp.exp() ** 2
        return (raised / raised.sum()).log()

    chances = {}  # answer -> its log-probability under the sharpened model and under SFT
    first = next_token(prompt)
    for token in range(16):
        if token == tiny.EOS:
            chances[token,] = sharpened(first)[token], first[token]
            continue
        second = next_token([*prompt, token])
        for last in range(16):
            chances[token, last] = (
                sharpened(first)[token] + sharpened(second)[last],
                first[token] + second[last],
            )
    p, q = (torch.stack(column) for column in zip(*chances.values(), strict=True))
    assert len(chances) == 241 and p.exp().sum().item() == pytest.approx(1)

    answers = [list(answer) for answer in chances]
    ratios = log_ratios(cold, sft, [prompt] * 241, answers)
    np.testing.assert_allclose(ratios.logp, p, atol=1e-4)
    np.testing.assert_allclose(ratios.ref_logp, q, atol=1e-4)
    kl = (p.exp() * (p - q)).sum().item()
    assert p.exp().numpy() @ ratios.exact == pytest.approx(
        kl, abs=1e-4
    )  # unbiased for the KL of whole answers

    drawn = sample(cold, [prompt], 20_000, 2, torch.Generator().manual_seed(0)).tokens()
    counts = Counter(map(tuple, drawn))
    expected = 20_000 * p.exp().numpy()
    usual = expected > 5
    observed = np.array([counts[answer] for answer in chances])
    statistic = ((observed - expected) ** 2 / expected)[usual].sum()
    assert set(counts) <= set(chances) and statistic < chi2.ppf(0.999, usual.sum())


def test_the_temperatures_do_not_multiply_and_other_hooks_stay(inputs, tmp_path, monkeypatch):
    policy = tiny.policy(sharpness=2.0)
    policy.register_forward_hook(lambda *given: None)

    def evaluate_at(strengths, change, *_):
        for strength in strengths:
            change(policy, strength, None)

    monkeypatch.setattr(untrained, "evaluate_at", evaluate_at)
    temperature.run(
        Temperature(seed=0, prompts=6, samples=4, temperatures=[0.5, 0.25]), {}, tmp_path, RUNTIME
    )
    ids = torch.tensor([[3, 6, 4]])
    logits = tiny.policy(sharpness=2.0)(input_ids=ids).logits
    assert torch.allclose(policy(input_ids=ids).logits, logits / 0.25) and len(policy._forward_hooks) == 2


@pytest.mark.parametrize("end", [signalled_at, partial(killed_at, line="heldout_kl")])
@pytest.mark.parametrize(
    ("stage", "config"),
    [
        (temperature, Temperature(seed=0, prompts=6, samples=4, temperatures=[0.7, 0.5, 0.3])),
        (weight_noise, WeightNoise(seed=0, prompts=6, samples=4, kls=[0.05, 0.1, 0.2])),
    ],
)
def test_an_untrained_policy_keeps_the_strengths_that_are_done_when_it_is_stopped(
    inputs, tmp_path, stage, config, end
):
    """A signal at strength 1 ends it once that is saved; a kill at strength 2 leaves what strength 1 saved."""
    killed = end is not signalled_at
    run = partial(stage.run, config, inputs)
    assert_ends_alike(run, tmp_path, partial(end, 1 + killed), 1, ALWAYS_SAVED)


@pytest.mark.parametrize("reward", ["gold", "noise"])
@pytest.mark.parametrize("policy", ["ppo", "expert_iteration"])
def test_a_policy_on_a_given_reward_goes_on_where_it_was_stopped(pipelines, tmp_path, policy, reward):
    own = ("policy.steps=12",) if policy == "ppo" else ("policy.rounds=3",)
    asked = ("experiment=tiny", f"policy={policy}", f"reward={reward}", *own)
    node = realised(pipelines, *asked, stage=f"{policy}_on_{reward}")
    folders = {name: pipelines.path(upstream) for name, upstream in node.inputs.items()}
    run = partial(given_reward.run, node.config, folders)
    stop = 4 if policy == "ppo" else node.config.policy.steps
    assert_ends_alike(run, tmp_path, partial(signalled_at, stop), stop)


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
