"""Records say what was run and give its rows back, whole and in order."""

import json

import numpy as np
import pytest

from rlhf_lab.store import records
from rlhf_lab.store.artifacts import MANIFEST, listing, sealed, write_json


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


def test_parts_of_a_table_are_written_and_read_one_after_the_other(tmp_path):
    path, alive = tmp_path / "t.parquet", []

    def parts():
        for number in range(3):
            yield {"n": np.full(2, number, np.int32), "ids": [[number], []]}
            alive.append(path.stat().st_size)

    records.write_parts(path, parts())
    assert alive == sorted(set(alive)), "each part is on its way to the disk before the next is made"
    assert [part["n"].to_pylist() for part in records.read_parts(path, ["n"])] == [[0, 0], [1, 1], [2, 2]]
    assert records.read_table(path)["ids"].to_pylist() == [[0], [], [1], [], [2], []]


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
    assert list(frame.columns[:9]) == [
        "run",
        "method",
        "uses_gold",
        "rm",
        "rm_seed",
        "policy_seed",
        "kl_coef",
        "pairs",
        "labeler",
    ]
    assert len(frame) == 48 and frame["run"].nunique() == 4
    assert set(zip(frame["method"], frame["rm"], strict=True)) == {
        (m, r) for m in ("bon", "ppo") for r in ("3k", "25k")
    }
    assert frame.loc[frame["method"] == "bon", "kl_coef"].isna().all()


def test_missing_runs_are_named_with_the_command_that_makes_them(lab, fakes, monkeypatch):
    with pytest.raises(records.MissingRuns, match=r"no runs of sweep 'gao'.*rlhf-lab experiment=gao"):
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
    assert (
        run.classes["labeler"] == ["GoldArgmax", "Labeler"] and run.classes["rm.model"][0] == "ScratchModel"
    )
    assert records.classes_of(run.choices, run.config)["labeler"] == ("GoldArgmax", "Labeler")
    (tmp_path / "store").rename(tmp_path / "moved")
    (moved,) = records.runs("adhoc", tmp_path / "moved")
    assert moved.rows().num_rows == 12 and records.sweep_names(tmp_path / "moved") == ["adhoc"]


def test_a_damaged_table_is_never_read_and_the_command_heals_it(lab, fakes):
    assert lab("-m", "policy=bon", "rm=3k,25k").code == 0
    run, other = records.runs("adhoc")
    samples = run.root.joinpath(*run.manifest()["inputs"]["samples"]) / "samples.parquet"
    before = samples.read_bytes()
    samples.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    for one in (run, other):
        with pytest.raises(
            records.DamagedRuns, match=rf"run {one.key[:8]}: sft_answers/.* samples.parquet; .* rlhf-lab -m"
        ):
            one.rows()
    again = lab("-m", "policy=bon", "rm=3k,25k")
    assert again.code == 0 and "sft_answers/" in again.out and "it is made again" in again.out
    assert run.rows().num_rows == other.rows().num_rows == 12


def test_scores_of_other_samples_are_refused_and_made_again(lab, fakes):
    assert lab("policy=bon").code == 0
    (run,) = records.runs("adhoc")
    samples = run.root.joinpath(*run.manifest()["inputs"]["samples"])
    manifest = json.loads((samples / MANIFEST).read_text())
    records.write_table(samples / records.SAMPLES, {"prompt_id": [0], "text": ["another"]})
    write_json(samples / MANIFEST, sealed(manifest | {"files": listing(samples)}))
    with pytest.raises(
        records.DamagedRuns, match=r"was made from another sft_answers/.* rlhf-lab policy=bon"
    ):
        run.rows()
    assert lab("policy=bon").code == 0
    assert run.rows(["text", "gold"]).num_rows == 1, "scored as the samples are now"


def test_files_beside_the_rows_are_checked_too(lab, fakes):
    assert lab("policy=ppo").code == 0
    (run,) = records.runs("adhoc")
    for path in run.root.glob("reward_model/*/evaluation.json"):
        path.write_text(path.read_text().replace("0.7", "0.8"))
    for path in run.root.glob("ppo/*/metrics.jsonl"):
        path.write_text(path.read_text() + "{}")
    with pytest.raises(records.DamagedRuns, match=r"other contents .* in evaluation.json"):
        run.evaluation("proxy")
    with pytest.raises(records.DamagedRuns, match=r"bytes, where .* in metrics.jsonl"):
        run.stage_metrics("ppo")


@pytest.mark.parametrize("name", ["../store", "/etc", "..", "", "a/b", "a\0b", "\udcff"])
def test_a_sweep_is_never_looked_for_outside_the_store(lab, fakes, name):
    with pytest.raises(records.MissingRuns, match="no runs of sweep"):
        records.runs(name)


def test_the_halves_of_the_training_questions_by_hand():
    """Questions 2, 3, 5, 7 are for training: the first half has 2 and 5, the second 3 and 7; held-out pairs stay."""
    import pyarrow as pa

    from rlhf_lab.config.models import Half
    from rlhf_lab.store.comparisons import in_half

    pairs = pa.table(
        {"question_id": [2, 3, 4, 5, 7], "split": ["train", "train", "heldout", "train", "train"]}
    )
    kept = {half: in_half(pairs, half)["question_id"].to_pylist() for half in Half}
    assert kept == {Half.both: [2, 3, 4, 5, 7], Half.first: [2, 4, 5], Half.second: [3, 4, 7]}
