"""`rlhf-runs reward-models` on a real store, too small to mean anything."""

import numpy as np
import pytest

from analysis.commands.runs import main
from analysis.reward_models.diagnostics import pair_diagnostics
from analysis.reward_models.listing import reward_models
from rlhf_lab.store import records

TINY = ("experiment=tiny", "task.base_documents=200", "model.steps=10", "rm.model.steps=10", "sft.steps=5")


@pytest.fixture
def several(lab):
    """Two members of an ensemble, the first of which is also a proxy of its own, over one table of SFT answers."""
    assert lab(*TINY, "policy=bon").code == 0
    assert lab(*TINY, "policy=bon", "rm_combination=mean", "rm_combination.members=2").code == 0
    return records.history()


def test_every_reward_model_is_a_row_and_one_is_told_in_full(several, capsys):
    newest, alone = several
    members = list(newest.reward_models())
    assert len(members) == 2 and set(alone.reward_models()) < set(members)
    assert set(newest.scored_by()) == set(members)
    assert alone.rewards(*alone.reward_models()).to_pylist() == alone.rows(["proxy"])["proxy"].to_pylist()

    for key in members:
        evaluation = records.read_json(newest.root / "reward_model" / key / "evaluation.json")
        assert evaluation is not None
        found = pair_diagnostics(newest.comparisons(key))
        for which in ("all", "untied"):
            judged, stored = found.judged["labeler", which], evaluation[which]
            assert (judged.accuracy.value, judged.accuracy.se) == pytest.approx(
                (stored["accuracy"]["mean"], stored["accuracy"]["se"]), rel=1e-5
            )
            assert judged.log_loss.value == pytest.approx(stored["log_loss"], rel=1e-5)
        assert found.blind["length"].accuracy.value == pytest.approx(
            evaluation["baselines"]["length"]["mean"]
        )

    models = reward_models(several, several)
    assert [one.key for one in models] == members and sorted(one.runs for one in models) == [1, 2]
    rows = models[1].answers()
    assert rows is not None and np.isfinite(rows["proxy"].to_numpy()).all()

    assert main(["reward-models"]) == 0
    out = capsys.readouterr().out
    assert all(out.count(key[:8]) == 1 for key in members) and "right, labeler" in out
    assert main(["reward-models", members[0][:6]]) == 0
    out = capsys.readouterr().out
    for part in ("Against", "Calibration against gold", "first token", "by family", "no sum", "overrated"):
        assert part in out
    assert "gap gamma: none, 1 points with KL > 0" in out and "index" in out
    assert main(["reward-models", "nothing"]) == 2
    assert "'nothing' is not a reward model; rlhf-runs reward-models lists them" in capsys.readouterr().err


def test_a_reward_model_that_left_no_rewards_is_named(lab, fakes, capsys):
    assert lab("policy=ppo").code == 0
    assert main(["reward-models"]) == 0
    assert "an earlier version made it" in capsys.readouterr().out
