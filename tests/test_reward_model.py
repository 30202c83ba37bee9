"""The stage that trains reward models: what it leaves is what is used afterwards."""

import json
from dataclasses import replace

import numpy as np
import pytest
from composing import experiment
from runtime import RUNTIME
from safetensors.torch import load_file
from test_proxies import SMALL, made, node

from rlhf_lab.config.models import Half
from rlhf_lab.models import tokenization
from rlhf_lab.models.loading import load_reward_model
from rlhf_lab.scoring import accuracy
from rlhf_lab.store.records import read_table


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_ends_with_training(pipelines, dropout):
    leaf = made(pipelines, "rm.batch=4", f"rm.dropout={dropout}")
    trained = node(leaf, "reward_model")
    folder = pipelines.path(trained)
    saved = json.loads((folder / "model" / "config.json").read_text())
    assert saved["attention_dropout"] == 0  # a critic that starts from it would drop too
    inputs = {name: pipelines.path(one) for name, one in trained.inputs.items()}
    sides = accuracy.sides(
        inputs["task"], inputs["pairs"], tokenization.load_tokenizer(folder / "model"), trained.config.half
    )
    rows = sides["heldout"][1]
    again, _ = accuracy.rewards(load_reward_model(folder / "model"), rows, RUNTIME.score_batch)
    recorded = read_table(folder / "heldout.parquet")["chosen"].to_numpy()
    np.testing.assert_allclose(recorded, again, atol=1e-5)


def test_one_step_of_training_moves_the_trunk(pipelines):
    """The experiment `tiny` has one step: with a warm-up of one step its reward model was not trained at all."""
    trained = node(made(pipelines), "reward_model")
    folder, trunk = pipelines.path(trained), pipelines.path(trained.inputs["trunk"])
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1
    after, before = (load_file(path / "model" / "model.safetensors") for path in (folder, trunk))
    shared = before.keys() & after.keys()
    moved = [name for name in shared if (after[name] - before[name]).abs().max() > 0]
    assert len(moved) > 10 and len(moved) > len(shared) / 2


def test_weights_of_random_trunks_are_not_averaged():
    with pytest.raises(ValueError, match=r"warm averages weights .* set rm\.init=lm or sft"):
        experiment(*SMALL, "rm_combination=warm", "rm.init=scratch")


class Seen(Exception):
    """What the stage handed on."""


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_dropout_of_a_checkpoint_is_off_unless_it_is_asked_for(pipelines, monkeypatch, tmp_path, dropout):
    from rlhf_lab.stages import reward_model, reward_trainer

    def trainer(args, **_):
        raise Seen(args.disable_dropout)

    leaf = node(made(pipelines), "reward_model")
    monkeypatch.setattr(reward_trainer, "RankingTrainer", trainer)
    inputs = {name: pipelines.path(one) for name, one in leaf.inputs.items()}
    with pytest.raises(Seen) as seen:
        reward_model.run(replace(leaf.config, dropout=dropout), inputs, tmp_path, RUNTIME)
    assert seen.value.args == (dropout == 0,)


@pytest.mark.parametrize("half", Half)
def test_the_half_of_the_configuration_is_learned_from(pipelines, monkeypatch, tmp_path, half):
    from rlhf_lab.stages import reward_model

    def sides(task, pairs, tokenizer, half):
        raise Seen(half)

    leaf = node(made(pipelines), "reward_model")
    monkeypatch.setattr(accuracy, "sides", sides)
    inputs = {name: pipelines.path(one) for name, one in leaf.inputs.items()}
    with pytest.raises(Seen) as seen:
        reward_model.run(replace(leaf.config, half=half), inputs, tmp_path, RUNTIME)
    assert seen.value.args == (half,)
