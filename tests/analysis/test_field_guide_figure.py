"""The report of the field guide: its numbers by hand, and the whole of it on two small chains."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from analysis.figures import anatomy, field_guide
from rlhf_lab.store import records


def table_run(rng, prompts=200, each=4):
    """A run whose gold is .9 truth - 1 insult: truth varies four times as much in gold's own units."""
    count = prompts * each
    parts = {f"gold.{part}": np.zeros(count) for part in field_guide.PARTS}
    parts["gold.truth"] = rng.normal(size=count) * 2
    parts["gold.insult"] = rng.normal(size=count) * 0.9
    gold = 0.9 * parts["gold.truth"] - 1.0 * parts["gold.insult"]
    ids = np.repeat(np.arange(prompts, dtype=np.int32), each)
    return SimpleNamespace(
        classes={"task": ("SyntheticAssistant",)},
        choices={},
        rows=lambda columns: pa.table(
            {"prompt_id": ids, "question_id": ids, "gold": gold + ids, **parts}
        ).select(columns),
    )


def test_shares_of_gold_sum_to_one_and_are_those_of_the_weighted_parts():
    found = field_guide.shares(table_run(np.random.default_rng(0)))
    assert sum(found.parts.values()) == pytest.approx(1)
    assert found.parts["truth"] == pytest.approx(1.8**2 / (1.8**2 + 0.9**2), abs=0.03)
    # a correlation of r between guess and gold tells 1/2 + asin(r) / pi of the pairs apart
    assert found.unseen_facts == pytest.approx(
        0.5 + np.arcsin(0.9 / (1.8**2 + 0.9**2) ** 0.5) / np.pi, abs=0.03
    )


def test_what_a_language_model_knows_is_read_at_half_and_at_the_end():
    lines = [
        {"step": 50 * look, "heldout_loss": 2 - look / 20, "truth_auc": 0.5 + look / 40}
        for look in range(1, 21)
    ]
    run = SimpleNamespace(
        config={"rm": {"model": {"steps": 1000, "decay": 0.5}}},
        stage_metrics=lambda role: (
            [*lines, {"step": 990, "loss": 1.0}] if role == field_guide.LANGUAGE_MODEL else []
        ),
    )
    found = field_guide.known(run)
    assert (found["truth at half"], found["truth"]) == (0.75, 1.0) and found["loss"] == 1.0
    assert found["still"] == pytest.approx(
        (1.6 - 1.5) / 1.6
    )  # from 400 to 500 of 500 steps at a constant rate


class Counts:
    """Two questions at two checkpoints; numbers are looked up by column."""

    def number(self, column):
        return np.array({"true": [[1.0, 2.0], [3.0, 0.0]], "all": [[2.0, 2.0], [2.0, 0.0]]}[column])

    def by_question(self, values):
        return values


def test_a_line_of_the_anatomy_is_a_mean_or_a_ratio_of_means():
    count = anatomy.Line("true claims", "true", None, "0.3")
    assert anatomy.number(count, Counts()).tolist() == [2.0, 1.0]
    share = anatomy.Line("true claims", "true", "all", "0.3")
    assert anatomy.number(share, Counts()).tolist() == [1.0, 1.0]


SMALL = (
    "task=field_guide model=1k model.steps=60 rm.model.steps=60 sft.steps=20 preferences.pairs=200 "
    "policy.prompts=60 task.base_documents=2000 task.prompts=600 replicate=r0,r1 rm=1k,3k"
)


@pytest.mark.slow
def test_the_whole_report_of_small_chains(lab, tmp_path):
    assert lab("-m", *SMALL.split(), "policy=bon", "policy.samples=16").code == 0
    result = field_guide.make(records.made("adhoc"))
    panels = result.table.groupby("panel").size()
    assert set(panels.index) == {"gold", "pairs", "language model", "peak"}
    assert result.table.loc[result.table["panel"] == "pairs", "estimate"].between(0, 1).all()
    assert {claim.topic for claim in result.claims} == {
        "facts",
        "misconceptions",
        "new animals",
        "loss is flat",
    }
    role = records.made("adhoc")[0].stage_metrics("proxy/proxy/trunk")
    assert role[-1]["step"] == 60 and "truth_auc" in role[-1]
    with pytest.raises(KeyError, match="no stage 'proxy/trunk'"):
        records.made("adhoc")[0].stage_metrics("proxy/trunk")


@pytest.mark.slow
def test_the_whole_anatomy_of_small_chains(lab, tmp_path):
    ppo = [
        "policy=ppo",
        "policy.steps=4",
        "policy.evaluations=2",
        "policy.rollout=32",
        "score.behaviour=true",
    ]
    assert lab("-m", *SMALL.split(), *ppo).code == 0
    result = anatomy.make(records.made("adhoc"))
    assert set(result.table["label"]) == {"1k", "3k"}
    assert set(result.table["line"]) == {line.label for line in anatomy.LINES}
    assert len([claim for claim in result.claims if claim.primary]) == 2
    texts = [text.get_text() for panel in result.figure.axes for text in panel.texts]
    assert sum("tell me the" in text and "gold" in text for text in texts) == 2
