"""Records say what was run and give its rows back, whole and in order."""

import numpy as np
import pytest

from rlhf_lab import records


def test_tables_come_back_as_they_were_written(tmp_path):
    columns = {
        "ids": [[1, 2], [], [3]],
        "n": np.array([1, 2, 3], np.int32),
        "text": ["a", "ü", "c\nd"],
        "gold": np.array([0.5, 1, np.nan], np.float32),
    }
    records.write_table(tmp_path / "t.parquet", columns)
    table = records.read_table(tmp_path / "t.parquet")
    assert table.column_names == list(columns) and table["ids"].to_pylist() == columns["ids"]
    assert str(table.schema.field("n").type) == "int32" and str(table.schema.field("gold").type) == "float"
    assert records.read_table(tmp_path / "t.parquet", ["text"]).column_names == ["text"]


def test_rows_join_samples_with_every_score(lab, fakes):
    assert lab("policy=ppo", "replicate=r2").code == 0
    (run,) = records.runs("adhoc")
    rows = run.rows()
    assert {"text", "kl", "gold", "gold.content", "proxy"} <= set(rows.column_names) and rows.num_rows == 12
    assert rows["text"].to_pylist()[0] == "answer 0 seed 2"
    assert run.rows(["proxy", "kl"]).column_names == ["proxy", "kl"]
    assert run.rows(["gold"])["gold"].to_pylist() == rows["gold"].to_pylist()
    with pytest.raises(KeyError, match="no column 'golden'"):
        run.rows(["golden"])
    assert run.evaluation("proxy") == {"accuracy": 0.7, "seed": 2}
    with pytest.raises(KeyError, match="no reward model is behind gold"):
        run.evaluation("gold")
    assert [line["step"] for line in run.stage_metrics("ppo")] == [1, 2, 3]
    with pytest.raises(KeyError, match="no stage 'dpo'"):
        run.stage_metrics("dpo")


def test_load_gives_one_frame_that_says_where_rows_come_from(lab, fakes):
    assert lab("-m", "policy=bon,ppo", "rm=3k,25k").code == 0
    frame = records.load("adhoc", columns=["gold", "kl"])
    assert list(frame.columns[:8]) == [
        *("run", "method", "rm", "rm_seed", "policy_seed", "kl_coef", "pairs", "labeler")
    ]
    assert len(frame) == 48 and frame["run"].nunique() == 4
    assert set(zip(frame["method"], frame["rm"], strict=True)) == {
        (m, r) for m in ("bon", "ppo") for r in ("3k", "25k")
    }
    assert frame.loc[frame["method"] == "bon", "kl_coef"].isna().all()


def test_missing_runs_are_named_with_the_command_that_makes_them(lab, fakes, monkeypatch):
    with pytest.raises(records.MissingRuns, match=r"no runs of sweep 'gao'.*rlhf-lab \+sweeps=gao"):
        records.runs("gao")
    monkeypatch.setenv("FAKE_FAIL", "ppo:1")
    assert lab("-m", "policy=ppo", "policy.seed=0,1").code == 1
    assert [run.status for run in records.runs("adhoc")] == ["made", "failed"]
    with pytest.raises(
        records.MissingRuns, match=r"(?s)1 of 2 runs.*policy.seed=1\): failed.*rlhf-lab -m policy=ppo"
    ):
        records.load("adhoc")
    assert records.sweep_record("adhoc")["command"] == "rlhf-lab -m policy=ppo policy.seed=0,1"


def test_the_newest_record_counts_and_the_store_may_move(lab, fakes, tmp_path):
    assert lab("rm=3k").code == 0 and lab("rm=25k").code == 0
    (run,) = records.runs("adhoc")
    assert run.choices["rm"] == "25k"
    (tmp_path / "store").rename(tmp_path / "moved")
    (moved,) = records.runs("adhoc", tmp_path / "moved")
    assert moved.rows().num_rows == 12 and records.sweep_names(tmp_path / "moved") == ["adhoc"]


def test_a_table_of_scores_with_other_rows_is_refused(lab, fakes):
    assert lab("policy=bon").code == 0
    (run,) = records.runs("adhoc")
    scores = run.root.joinpath(*run.manifest()["inputs"]["proxy"]) / "scores.parquet"
    records.write_table(scores, {"proxy": [1.0]})
    with pytest.raises(ValueError, match="1 scores for 12 samples"):
        run.rows()
