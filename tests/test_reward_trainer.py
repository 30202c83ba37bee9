"""Training on rankings: TRL's own loss where there are two answers, and what every knob does."""

import numpy as np
import pytest
import tiny
import torch
from reward_models import reward_training, words
from runtime import RUNTIME
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import DataCollatorForPreference, RewardTrainer

from rlhf_lab.config.models import RewardLoss
from rlhf_lab.models.trl_arguments import arguments, recording
from rlhf_lab.stages.reward_trainer import Batches, Ranking, RankingTrainer, shuffled
from rlhf_lab.store.metrics import Metrics


def pair(better, worse, preference=1.0, margin=1.0):
    return Ranking([better, worse], [0], [1], [preference], [margin])


def ranking(answers):
    """Answers in the order of preference, all pairs."""
    sides = [(i, j) for i in range(len(answers)) for j in range(i + 1, len(answers))]
    chosen, rejected = zip(*sides, strict=True)
    return Ranking(answers, chosen, rejected, [1.0] * len(sides), [float(j - i) for i, j in sides])


def good(count, seed=0):
    """Pairs of which the side with the word `good` is chosen."""
    rng = np.random.default_rng(seed)
    return [pair([tiny.GOOD, *words(rng)], words(rng, 6)) for _ in range(count)]


def trainer(rankings, out, model=None, batch=8, seed=0, epochs=1, lr=1e-2, **changed):
    args = RewardConfig(
        **arguments(out, seed, RUNTIME),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch,
        learning_rate=lr,
        max_length=None,
    )
    config = reward_training(epochs=epochs, lr=lr, **changed)
    return RankingTrainer(model or tiny.reward_model(), args, rankings, tiny.tokenizer(), config)


def trained(rankings, out, **changed):
    out.mkdir(exist_ok=True)
    made = trainer(rankings, out, **changed)
    with Metrics(out, 1) as metrics:
        recording(made, metrics).train()
    return made


def loss_of(rankings, out, **changed):
    made = trainer(rankings, out, **changed)
    rows = [made.train_dataset[i] for i in range(len(rankings))]
    return made.compute_loss(made.model, made.data_collator(rows)).item()


def test_pairs_are_batched_and_weighed_as_by_trl(tmp_path):
    pairs = good(6)
    examples = [{"chosen_ids": one.answers[0], "rejected_ids": one.answers[1]} for one in pairs]
    theirs = DataCollatorForPreference(tiny.PAD)(examples)
    mine = Batches(tiny.PAD)([{**one._asdict(), "pair": [0]} for one in pairs])
    assert torch.equal(theirs["input_ids"], mine["input_ids"])
    assert torch.equal(theirs["attention_mask"], mine["attention_mask"])
    made = trainer(pairs, tmp_path)
    plain = RewardTrainer.compute_loss(made, made.model, dict(theirs))
    assert made.compute_loss(made.model, mine).item() == plain.item()


def test_center_is_trl_s(tmp_path):
    pairs = good(6)
    made = trainer(pairs, tmp_path, center=0.3)
    rows = [made.train_dataset[i] for i in range(6)]
    made.args.center_rewards_coefficient = 0.3
    examples = [{"chosen_ids": one.answers[0], "rejected_ids": one.answers[1]} for one in pairs]
    theirs = RewardTrainer.compute_loss(made, made.model, dict(DataCollatorForPreference(tiny.PAD)(examples)))
    assert made.compute_loss(made.model, made.data_collator(rows)).item() == pytest.approx(
        theirs.item(), rel=1e-6
    )


def test_a_ranking_reads_each_answer_once_and_compares_all_pairs(tmp_path):
    rng = np.random.default_rng(0)
    answers = [words(rng) for _ in range(4)]
    whole = ranking(answers)
    batch = Batches(tiny.PAD)([{**whole._asdict(), "pair": [*range(6)]}])
    assert len(batch["input_ids"]) == 4 and len(batch["chosen"]) == 6
    model = tiny.reward_model()
    with torch.no_grad():
        r = model(torch.tensor(answers)).logits[:, 0]
    expected = np.mean(
        [-torch.nn.functional.logsigmoid(r[i] - r[j]).item() for i in range(4) for j in range(i + 1, 4)]
    )
    assert loss_of([whole], tmp_path) == pytest.approx(expected, rel=1e-5)
    assert len(shuffled([whole])) == 6
    assert loss_of(shuffled([whole]), tmp_path) == pytest.approx(expected, rel=1e-5)


def test_each_prompt_weighs_the_same(tmp_path):
    rng = np.random.default_rng(1)
    many, few = ranking([words(rng) for _ in range(4)]), pair(words(rng), words(rng))
    both = loss_of([many, few], tmp_path)
    assert both == pytest.approx((loss_of([many], tmp_path) + loss_of([few], tmp_path)) / 2, rel=1e-5)


def test_margin_asks_for_more_where_gold_is_further_apart(tmp_path):
    rng = np.random.default_rng(2)
    one = pair(words(rng), words(rng), margin=2.0)
    model = tiny.reward_model()
    with torch.no_grad():
        r = model(torch.tensor(one.answers)).logits[:, 0]
    expected = -torch.nn.functional.logsigmoid(r[0] - r[1] - 0.5 * 2.0).item()
    assert loss_of([one], tmp_path, margin=0.5) == pytest.approx(expected, rel=1e-5)
    wrong = one._replace(margin=[-2.0])  # the labeler erred, and says how sure he is all the same
    assert loss_of([wrong], tmp_path, margin=0.5) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "changed", [{}, {"loss": RewardLoss.hinge}, {"smoothing": 0.1}, {"center": 0.01}, {"data_smoothing": 0.3}]
)
def test_every_loss_learns_what_is_preferred(tmp_path, changed):
    made = trained(good(64), tmp_path, epochs=4, **changed)
    fresh = good(64, seed=1)
    with torch.no_grad():
        better, worse = (
            made.model(torch.tensor([one.answers[side] for one in fresh])).logits[:, 0] for side in (0, 1)
        )
    assert (better > worse).float().mean() > 0.9


def test_labels_move_to_what_the_model_says_of_them(tmp_path):
    pairs = good(64)
    wrong = pair(pairs[0].answers[1], pairs[0].answers[0])  # one label against all others
    made = trained([*pairs[1:], wrong], tmp_path, epochs=6, data_smoothing=0.5)
    assert made.labels[-1] < 0.4  # turned round
    assert made.labels[:-1].min() > 0.5 and made.labels[:-1].mean() > 0.7
    assert trained([*pairs[1:], wrong], tmp_path / "hard", epochs=6).labels[-1] == 1


def test_a_frozen_trunk_stays(tmp_path):
    from rlhf_lab.stages.reward_model import _head

    model = tiny.reward_model()
    before = {name: p.clone() for name, p in model.named_parameters()}
    model.requires_grad_(False)
    model.get_submodule(_head(model)).requires_grad_(True)
    trained(good(32), tmp_path, model=model, frozen=True)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"score.weight"}


def test_labels_are_smoothed_as_the_configuration_says(tmp_path):
    plain, smooth = (trainer(good(4), tmp_path / str(share), smoothing=share).labels for share in (0.0, 0.1))
    assert torch.allclose(smooth, 0.9 * plain + 0.1 * (1 - plain)) and not torch.equal(smooth, plain)
