"""Accuracy of reward models on labelled pairs, on pairs counted by hand."""

import numpy as np
import pyarrow as pa
import pytest

from rlhf_lab.scoring import accuracy

ROWS = {"chosen_ids": [[1], [1, 2], [1], [1]], "rejected_ids": [[1, 2, 3], [1], [1, 2], [1]]}
PAIRS = pa.table(
    {"question_id": [0, 0, 1, 1], "tied": [False, False, False, True], "first": [True, True, False, True]}
)
MARGIN = np.array([2.0, -1.0, 0.0, 5.0])


def test_ties_of_the_model_count_half_and_tied_pairs_are_left_out_of_untied():
    found = accuracy.evaluation(MARGIN, PAIRS, ROWS, longer=False)
    assert found["all"]["accuracy"]["mean"] == pytest.approx(2.5 / 4)
    assert found["untied"]["n"] == 3 and found["untied"]["accuracy"]["mean"] == pytest.approx(1.5 / 3)
    assert found["all"]["log_loss"] == pytest.approx(np.log1p(np.exp([-2, 1, 0, -5])).mean())


def test_baselines_follow_the_training_pairs_rule_and_the_listing():
    assert not accuracy.longer_wins(ROWS)
    found = accuracy.evaluation(MARGIN, PAIRS, ROWS, longer=False)["baselines"]
    assert found["length"]["mean"] == pytest.approx(2 / 3) and found["position"]["mean"] == pytest.approx(
        2 / 3
    )
    assert accuracy.evaluation(MARGIN, PAIRS, ROWS, longer=True)["baselines"]["length"][
        "mean"
    ] == pytest.approx(1 / 3)


def test_human_pairs_have_no_position_baseline():
    human = PAIRS.drop_columns(["first", "tied"])
    assert set(accuracy.evaluation(MARGIN, human, ROWS, longer=True)["baselines"]) == {"length"}


def test_the_standard_error_is_of_questions():
    one_question_each = accuracy.summary(np.tile([1.0, -1.0], 50), np.arange(100))
    assert one_question_each["accuracy"]["se"] == pytest.approx(0.05, rel=0.02)
    copies = accuracy.summary(np.repeat([1.0, -1.0], 50), np.repeat([0, 1], 50))
    assert copies["accuracy"]["se"] == pytest.approx(0.5)  # two questions, however many framings
    assert accuracy.summary(np.ones(3), np.zeros(3))["accuracy"]["se"] is None
