"""DPO, IPO, SLiC and KTO: the loss is the paper's on the very tokens of the pairs, and the stage does what it says."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from transformers import PreTrainedModel

from rlhf_lab.config.policies import DPO, IPO, KTO, Direct, SLiC
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.models import loading, sampling, tokenization
from rlhf_lab.stages.policy import direct, direct_trainers, trainers
from rlhf_lab.stages.policy.direct import Pairs, Setup
from rlhf_lab.store import interrupts
from rlhf_lab.store.records import read_table, write_table

__all__ = ["inputs"]  # a fixture: task, sft and proxy
METHODS = [DPO, IPO, SLiC, KTO]
TWO = Pairs(  # of unlike lengths; one answer was cut before its end, one holds a token that text would lose
    prompts=[[1, 3, 6, 4], [1, 3, 7, 9, 4]],
    chosen=[[5, 6, tiny.EOS], [5, 5, 5, 8, 9, 10]],
    rejected=[[7, tiny.EOS], [tiny.PAD, 9, tiny.BOS, tiny.EOS]],
    question_id=np.array([0, 1]),
)


def settings(method: type[Direct], **changes: Any) -> Any:
    values: dict[str, Any] = {
        "seed": 0, "prompts": 6, "samples": 4, "epochs": 2, "batch": 8, "lr": 1e-3, "warmup": 0, "beta2": 0.95,
        "beta": 0.3, "evaluations": 4,
    }  # fmt: skip
    return method(**(values | changes))


def trainer_of(setup: Setup, config: Any, out: Path) -> Any:
    make = direct_trainers.kto_trainer if isinstance(config, KTO) else direct_trainers.dpo_trainer
    return make(setup, config, direct._arguments(config, 1, out, RUNTIME))


def loss_and_batch(policy: Any, ref: Any, config: Any, out: Path) -> tuple[float, Mapping[str, torch.Tensor]]:
    """TRL's loss of the first batch, and that batch."""
    trainer = trainer_of(Setup(policy, ref, tiny.tokenizer(), TWO), config, out)
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()  # without dropout, which GPT-2 brings
    return float(trainer.compute_loss(trainer.model, batch).detach()), batch


@torch.no_grad()
def logp(model: PreTrainedModel, prompt: Sequence[int], answer: Sequence[int]) -> float:
    """The log-probability of one answer, without batches, padding or fused heads."""
    logps = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
    return sum(float(logps[len(prompt) - 1 + t, token]) for t, token in enumerate(answer))


def ratio(policy: Any, ref: Any, prompt: Sequence[int], answer: Sequence[int]) -> float:
    return logp(policy, prompt, answer) - logp(ref, prompt, answer)


def sigmoid(x: float) -> float:
    return 1 / (1 + float(np.exp(-x)))


@pytest.mark.parametrize("model", [tiny.policy, tiny.gpt2])
@pytest.mark.parametrize(
    "method, loss",
    [
        (DPO, lambda gap, beta: -np.log(sigmoid(beta * gap))),
        (IPO, lambda gap, beta: (gap - 1 / (2 * beta)) ** 2),
        (SLiC, lambda gap, beta: max(0.0, 1 - beta * gap)),
    ],
)
def test_the_loss_of_two_pairs_by_hand(model: Any, method: Any, loss: Any, tmp_path: Path) -> None:
    policy, ref = model(0), model(1)
    gaps = [
        ratio(policy, ref, prompt, chosen) - ratio(policy, ref, prompt, rejected)
        for prompt, chosen, rejected, _ in zip(*TWO, strict=True)
    ]
    for beta in (0.02, 0.7):
        config = settings(method, batch=2, beta=beta)
        found, _ = loss_and_batch(policy, ref, config, tmp_path)
        assert found == pytest.approx(np.mean([loss(gap, beta) for gap in gaps]), rel=1e-4, abs=1e-6)
    assert abs(gaps[0] - gaps[1]) > 0.1 and min(map(abs, gaps)) > 0.1


@pytest.mark.parametrize("model", [tiny.policy, tiny.gpt2])
def test_the_loss_of_kto_by_hand(model: Any, tmp_path: Path) -> None:
    """The reference point is KL from answers to other prompts, and it is not negative."""
    config = settings(KTO, batch=2, epochs=1)
    rows = direct_trainers.kto_rows(TWO, 1, 4, config.seed)
    points = []
    for policy, ref in ((model(0), model(1)), (model(1), model(0))):
        others = [rows["completion_ids"][i - 1] for i in range(4)]
        point = np.mean([ratio(policy, ref, p, o) for p, o in zip(rows["prompt_ids"], others, strict=True)])
        points.append(point)
        ratios = [
            ratio(policy, ref, p, a) for p, a in zip(rows["prompt_ids"], rows["completion_ids"], strict=True)
        ]
        losses = [
            1 - sigmoid((1 if good else -1) * config.beta * (r - max(0.0, point)))
            for r, good in zip(ratios, rows["label"], strict=True)
        ]
        found, _ = loss_and_batch(policy, ref, config, tmp_path)
        assert found == pytest.approx(np.mean(losses), rel=1e-4)
    assert min(points) < -0.1 and max(points) > 0.1  # both sides of the clamp


def test_kto_sees_every_answer_once_in_an_epoch_labelled_and_beside_another_prompts_answer() -> None:
    many = Pairs(
        [[n] for n in range(10)], [[n, 1] for n in range(10)], [[n, 0] for n in range(10)], np.arange(10)
    )
    rows = direct_trainers.kto_rows(many, 3, 8, seed=0)
    for epoch in range(3):
        part = slice(20 * epoch, 20 * (epoch + 1))
        assert sorted(rows["completion_ids"][part]) == sorted(many.chosen + many.rejected)
    for prompt, answer, good in zip(rows["prompt_ids"], rows["completion_ids"], rows["label"], strict=True):
        assert answer == [*prompt, int(good)]
    for start in range(0, 60, 8):  # within a batch the same answers, moved on by one
        answers, moved = (rows[name][start : start + 8] for name in ("completion_ids", "KL_completion_ids"))
        assert moved == [answers[-1], *answers[:-1]]
    mixed = [sum(rows["label"][start : start + 8]) for start in range(0, 56, 8)]
    assert min(mixed) > 0 and max(mixed) < 8


@pytest.mark.parametrize("method", METHODS)
def test_the_sampled_tokens_reach_the_loss(method: Any, tmp_path: Path) -> None:
    """Nothing is decoded, merged, cut or given an EOS that it does not have."""
    _, batch = loss_and_batch(tiny.policy(0), tiny.policy(1), settings(method, batch=2), tmp_path)
    lines = zip(batch["input_ids"], batch["attention_mask"].bool(), batch["completion_mask"] > 0, strict=True)
    found = sorted((ids[real & ~answer].tolist(), ids[answer].tolist()) for ids, real, answer in lines)
    assert found == sorted(zip(TWO.prompts * 2, TWO.chosen + TWO.rejected, strict=True))


def test_the_implicit_reward_is_right_where_the_policy_raises_the_chosen_answer() -> None:
    ref, policy = tiny.policy(0), tiny.policy(1)
    implicit = direct.ImplicitReward(TWO, ref)
    gaps = [
        ratio(policy, ref, prompt, chosen) > ratio(policy, ref, prompt, rejected)
        for prompt, chosen, rejected, _ in zip(*TWO, strict=True)
    ]
    assert implicit.accuracy(policy) == np.mean(gaps)
    assert implicit.accuracy(ref) == 0.5  # all ties


# --- the stage ---------------------------------------------------------------------------------------------


EACH = 4  # pairs to a prompt


def worth(answer: Sequence[int]) -> int:
    """What decides which answer of a pair is chosen."""
    return sum(answer)


@pytest.fixture
def paired(inputs: Mapping[str, Path]) -> Mapping[str, Path]:
    """Folders of a finished task, SFT and pairs of its answers."""
    folder = inputs["task"].parent / "pairs"
    folder.mkdir()
    rows = read_table(inputs["task"] / "prompts.parquet").to_pylist()
    asked = [row for row in rows for _ in range(EACH)]
    prompts = tokenization.prompts_ids(tiny.tokenizer(), [row["messages"] for row in asked], 8)
    sft = loading.load_language_model(inputs["sft"] / "model")
    answers = sampling.sample(sft, prompts, 2, 6, torch.Generator().manual_seed(0)).tokens()
    both = [sorted(answers[i : i + 2], key=worth) for i in range(0, len(answers), 2)]
    columns = {
        name: [row[name] for row in asked] for name in ("prompt_id", "question_id", "split", "messages")
    }
    for side, place in (("rejected", 0), ("chosen", 1)):
        columns[f"{side}_ids"] = [pair[place] for pair in both]
        columns[side] = [tokenization.answer_text(tiny.tokenizer(), pair[place]) for pair in both]
    columns["tied"] = [worth(pair[0]) == worth(pair[1]) for pair in both]
    write_table(folder / "pairs.parquet", columns)
    tiny.tokenizer().save_pretrained(folder / "tokenizer")
    return {**inputs, "pairs": folder}


def made(config: Any, paired: Mapping[str, Path], name: str, runtime: Runtime = RUNTIME) -> Path:
    out = paired["task"].parent / name
    out.mkdir()
    trainers.run(config, paired, out, runtime)
    return out


def test_what_a_trainer_on_pairs_is_given(paired: Mapping[str, Path]) -> None:
    """Pairs of training questions alone, in an order of the seed's, and the settings of the configuration."""
    seen: dict[str, Any] = {}

    def make(setup: Any, config: Any, arguments: dict[str, Any]) -> Any:
        seen.update(arguments, pairs=setup.train)
        raise InterruptedError

    chosen = settings(METHODS[0], lr=3e-4, beta=0.3, warmup=7, beta2=0.8, seed=5)
    out = paired["task"].parent / "out"
    out.mkdir()
    with pytest.raises(InterruptedError):
        direct.train(chosen, paired, out, RUNTIME, make)
    table = read_table(paired["pairs"] / "pairs.parquet").to_pylist()
    training = [row for row in table if row["split"] == "train"]
    assert seen["pairs"].question_id.tolist() == [row["question_id"] for row in training]
    assert seen["pairs"].chosen == [row["chosen_ids"] for row in training]
    given = {name: seen[name] for name in ("learning_rate", "beta", "warmup_steps", "adam_beta2", "seed")}
    assert given == {"learning_rate": 3e-4, "beta": 0.3, "warmup_steps": 7, "adam_beta2": 0.8, "seed": 5}


@pytest.mark.parametrize(("method", "column"), [(DPO, "chosen_ids"), (KTO, "completion_ids")])
def test_pairs_are_learned_in_an_order_of_the_seed(method: Any, column: str, tmp_path: Path) -> None:
    pairs = Pairs([[3]] * 8, [[5, i, 2] for i in range(8)], [[6, i, 2] for i in range(8)], np.arange(8))
    setup = Setup(tiny.policy(), tiny.policy(), tiny.tokenizer(), pairs)
    rows = [trainer_of(setup, settings(method, seed=seed), tmp_path).train_dataset for seed in (0, 0, 1)]
    orders = [[*given[column]] for given in rows]
    assert orders[0] == orders[1] and orders[0] != orders[2]


@pytest.mark.parametrize("method", METHODS)
def test_the_policy_learns_the_preference_and_is_judged_by_its_own_answers(
    method: Any, paired: Mapping[str, Path]
) -> None:
    out = made(settings(method, lr=5e-3, beta=0.1, samples=16), paired, "out")
    rows = read_table(out / "samples.parquet").to_pydict()
    steps = [0, 8, 15, 22, 30]  # 120 pairs, twice, 8 a step
    assert sorted(set(rows["checkpoint"])) == steps and len(rows["text"]) == 5 * 6 * 16
    assert set(rows["prompt_id"]) <= set(range(1, 60, 2))  # held-out prompts only
    kl = np.array(rows["kl"]).reshape(5, -1).mean(1)
    assert kl[0] == 0 and (kl[1:] > 0).all() and kl[-1] > 0.3
    worths = np.array([worth(ids) for ids in rows["token_ids"]]).reshape(5, -1)
    assert worths[-1].mean() > worths[0].mean() + worths[0].std()
    lines = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    accuracy = {line["step"]: line["heldout_accuracy"] for line in lines if "heldout_accuracy" in line}
    assert list(accuracy) == steps and accuracy[0] == 0.5 and accuracy[30] > 0.65
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 31))
    sft = loading.load_language_model(paired["sft"] / "model").state_dict()
    assert any(
        not torch.equal(v, sft[k]) for k, v in loading.load_language_model(out / "model").state_dict().items()
    )
    assert read_table(out / "reference.parquet")["checkpoint"].to_pylist() == sorted(steps * 6)
    assert (out / "tokenizer/tokenizer.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", [SLiC, KTO])  # one of either trainer
def test_a_larger_beta_stays_nearer_to_sft(method: Any, paired: Mapping[str, Path]) -> None:
    near, far = (
        read_table(
            made(settings(method, epochs=3, lr=1e-2, beta=beta), paired, str(beta)) / "samples.parquet"
        )
        for beta in (3.0, 0.1)
    )
    ends = [np.mean(table["kl"].to_numpy()[-24:]) for table in (near, far)]
    assert ends[0] < 0.7 * ends[1]


@pytest.mark.slow
@pytest.mark.parametrize("method", [IPO, KTO])
def test_the_same_samples_twice_however_often_it_is_looked_at(
    method: Any, paired: Mapping[str, Path]
) -> None:
    first = made(settings(method), paired, "first")
    torch.manual_seed(99)  # what was drawn before must not matter
    second = made(settings(method), paired, "second")
    assert (first / "samples.parquet").read_bytes() == (second / "samples.parquet").read_bytes()
    often = made(settings(method, evaluations=8), paired, "often")
    last = [read_table(out / "samples.parquet")["token_ids"].to_pylist()[-24:] for out in (first, often)]
    assert last[0] == last[1]
    other = made(settings(method, seed=1), paired, "seed")
    assert read_table(other / "samples.parquet")["token_ids"].to_pylist()[-24:] != last[0]


def test_pairs_that_another_tokenizer_wrote_are_read_by_their_text(paired: Mapping[str, Path]) -> None:
    pairs, own = read_table(paired["pairs"] / "pairs.parquet"), tiny.tokenizer()
    before = direct._tokens(pairs, own, paired)
    order = [0, 1, 2, *reversed(range(3, 16))]
    tiny.tokenizer([tiny.WORDS[i] for i in order]).save_pretrained(paired["pairs"] / "tokenizer")
    columns = pairs.to_pydict()
    for side in ("chosen_ids", "rejected_ids"):
        columns[side] = [[order.index(t) for t in ids] for ids in columns[side]]
    write_table(paired["pairs"] / "pairs.parquet", columns)
    foreign = direct._tokens(read_table(paired["pairs"] / "pairs.parquet"), own, paired)
    assert (foreign.chosen, foreign.rejected) == (before.chosen, before.rejected)


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_that_is_not_finite_stops_the_run(method: Any, paired: Mapping[str, Path]) -> None:
    late = replace(RUNTIME, log_every=1000)  # a line of metrics would come too late to stop at
    with pytest.raises(FloatingPointError, match=r"loss is nan at step \d"):
        made(settings(method, lr=1e30, evaluations=1), paired, "out", late)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_at_its_next_line(
    number: signal.Signals, paired: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = signalled_at(3, monkeypatch, number)
    with interrupts.listening(), pytest.raises(interrupts.Interrupted) as stopped:
        made(settings(DPO, evaluations=1), paired, "out", replace(RUNTIME, log_every=4))
    assert stopped.value.number == number and max(heard) == 4


@pytest.mark.parametrize(
    "method, stops, runtime",  # one of either trainer
    [
        (DPO, partial(signalled_at, 12), RUNTIME),
        pytest.param(KTO, partial(killed_at, 13, line="loss"), ALWAYS_SAVED, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_stopped_or_killed_ends_as_one_that_was_not(
    method: Any, stops: Any, runtime: Runtime, paired: Mapping[str, Path], tmp_path: Path
) -> None:
    """At a line between two evaluations, in the second epoch, the rate still rising."""
    run = partial(trainers.run, settings(method, batch=12, warmup=14, lr=5e-3), paired)
    assert_ends_alike(run, tmp_path, lambda patch: stops(monkeypatch=patch), 12, runtime)
