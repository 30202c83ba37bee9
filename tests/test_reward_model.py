"""The stage that trains reward models: what it leaves is what is used afterwards."""

import json

import numpy as np
import pytest
from composing import experiment
from runtime import RUNTIME
from test_proxies import SMALL, made, node

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


def test_weights_of_random_trunks_are_not_averaged():
    with pytest.raises(ValueError, match=r"warm averages weights .* set rm\.init=lm or sft"):
        experiment(*SMALL, "rm_combination=warm", "rm.init=scratch")
