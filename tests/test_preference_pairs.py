"""The files that the task of real comparisons leaves, and that nothing learns from held-out dialogues."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.compute as pc
import pytest
from dialogues import rows, save
from runtime import RUNTIME

from rlhf_lab.config.tasks import PairFile
from rlhf_lab.models import tokenization
from rlhf_lab.store.records import read_table
from rlhf_lab.tasks.preference_pairs.corpus import write
from rlhf_lab.tasks.preference_pairs.formats import Comparison
from rlhf_lab.tasks.preference_pairs.reader import read
from rlhf_lab.tasks.preference_pairs.splits import split

MARK = "zyxwv"  # planted in held-out dialogues


def config(path: Path, **changes: object) -> PairFile:
    values = {
        "seed": 0,
        "heldout_share": 0.3,
        "prompt_tokens": 32,
        "answer_tokens": 16,
        "path": str(path),
        "revision": None,
        "vocabulary": 400,
    }
    return PairFile(**{**values, **changes})  # pyright: ignore[reportArgumentType]


def written(out: Path, task: PairFile) -> Path:
    out.mkdir()
    write(task, out)
    return out


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    return written(folder / "task", config(save(folder / "f.jsonl.gz", rows(120), compress=True)))


def test_every_table_has_the_columns_of_the_contract(task: Path) -> None:
    columns = {
        "prompts": ["prompt_id", "question_id", "split", "messages", "family"],
        "base": ["text"],
        "demonstrations": ["messages", "answer"],
        "comparisons": [
            "prompt_id",
            "question_id",
            "split",
            "messages",
            "chosen",
            "rejected",
            "chosen_ids",
            "rejected_ids",
        ],
    }
    for name, expected in columns.items():
        assert read_table(task / f"{name}.parquet").column_names == expected
    comparisons = read_table(task / "comparisons.parquet")
    assert str(comparisons.schema.field("chosen_ids").type) == "list<element: int32>"
    assert set(pc.list_value_length(comparisons["chosen_ids"]).to_pylist()) == {0}
    prompts = read_table(task / "prompts.parquet")
    assert prompts["prompt_id"].to_pylist() == list(range(len(prompts)))
    for row in comparisons.to_pylist():
        same = prompts.slice(row["prompt_id"], 1).to_pylist()[0]
        assert all(row[name] == same[name] for name in ("question_id", "split", "messages"))


def test_the_summary_counts_what_is_in_the_tables(task: Path) -> None:
    summary = json.loads((task / "task.json").read_text())
    comparisons = read_table(task / "comparisons.parquet")
    assert summary["train_comparisons"] + summary["heldout_comparisons"] == len(comparisons) == 120
    assert summary["train_comparisons"] == len(read_table(task / "base.parquet"))
    assert {"kind", "prompt_tokens", "answer_tokens", "dropped", "cut_answers"} < set(summary)


def test_one_question_is_on_one_side_whatever_follows_it() -> None:
    opening = {"role": "user", "content": "How tall is  it?"}
    later = [opening, {"role": "assistant", "content": "What?"}, {"role": "user", "content": "The house."}]
    spaced = [{"role": "user", "content": "how tall is it?"}]
    for seed in range(20):
        sides = {split(Comparison(m, "a", "b"), seed, 0.5) for m in ([opening], later, spaced)}
        assert len(sides) == 1


def test_the_split_has_the_asked_share_and_another_with_another_seed() -> None:
    pairs = [Comparison([{"role": "user", "content": f"q{i}"}], "a", "b") for i in range(4000)]
    sides = [[split(pair, seed, 0.25) == "heldout" for pair in pairs] for seed in (0, 1)]
    for side in sides:
        assert abs(sum(side) / len(side) - 0.25) < 0.03  # 4 SE
    assert sides[0] != sides[1]


def test_held_out_text_reaches_neither_corpus_nor_demonstrations_nor_tokenizer(tmp_path: Path) -> None:
    plain = rows(120)
    pairs = read(str(save(tmp_path / "plain", plain))).comparisons
    marked = [
        {side: value + f" {MARK}" * 50 for side, value in row.items()}
        | {"rejected": row["rejected"] + f" {MARK} no"}
        if split(pair, 0, 0.3) == "heldout"
        else row
        for row, pair in zip(plain, pairs, strict=True)
    ]
    before = written(tmp_path / "before", config(tmp_path / "plain"))
    after = written(tmp_path / "after", config(save(tmp_path / "marked", marked)))

    everything = read_table(after / "comparisons.parquet")
    seen = everything.filter(pc.equal(everything["split"], "train"))
    assert MARK in json.dumps(everything.to_pylist())  # the mark is there to be found
    assert MARK not in json.dumps(seen.to_pylist())
    for name in ("base.parquet", "demonstrations.parquet"):
        assert (before / name).read_bytes() == (after / name).read_bytes()
    for file in (before / "tokenizer").iterdir():
        assert file.read_bytes() == (after / "tokenizer" / file.name).read_bytes(), file.name


def test_the_same_file_gives_the_same_bytes(task: Path, tmp_path: Path) -> None:
    again = written(tmp_path / "again", config(save(tmp_path / "other_name", rows(120))))
    for file in (f for f in task.rglob("*") if f.is_file()):
        assert file.read_bytes() == (again / file.relative_to(task)).read_bytes(), file.name


def test_a_document_reads_as_prompt_and_answer_encoded_apart(task: Path) -> None:
    tokenizer = tokenization.load_tokenizer(task / "tokenizer")
    shown = read_table(task / "demonstrations.parquet").to_pylist()
    for document, row in zip(read_table(task / "base.parquet")["text"].to_pylist(), shown, strict=True):
        prompt = tokenization.prompt_ids(tokenizer, json.loads(row["messages"]), 10**6)
        whole = tokenizer(document, add_special_tokens=False)["input_ids"]
        assert [*whole, tokenizer.eos_token_id] == [
            *prompt,
            *tokenization.answer_ids(tokenizer, row["answer"]),
        ]
        assert tokenizer.decode(whole) == document


def test_any_text_survives_the_tokenizer(task: Path) -> None:
    tokenizer = tokenization.load_tokenizer(task / "tokenizer")
    for answer in ("Ünïcödé 漢字 🙂", "  two  spaces\n\tand a tab ", "don't ,  n't", "\x00\x7f"):
        ids = tokenization.answer_ids(tokenizer, answer)
        assert tokenization.answer_text(tokenizer, ids) == answer


def test_answers_that_differ_only_past_the_limit_are_dropped(tmp_path: Path) -> None:
    start = "the same long start " * 10
    row = {"prompt": "A question", "chosen": start + "good", "rejected": start + "bad"}
    summary = written(tmp_path / "task", config(save(tmp_path / "f", [*rows(60), row]))) / "task.json"
    assert json.loads(summary.read_text())["dropped"] == {"identical in the first 16 tokens": 1}


def test_text_that_holds_a_control_token_is_dropped(tmp_path: Path) -> None:
    row = {"prompt": "Say <eos> twice", "chosen": "a", "rejected": "b"}
    out = written(tmp_path / "task", config(save(tmp_path / "f", [*rows(60), row])))
    assert json.loads((out / "task.json").read_text())["dropped"] == {
        "an answer or prompt holds a control token": 1
    }


def test_the_stage_writes_the_task(task: Path, tmp_path: Path) -> None:
    from rlhf_lab.stages.task import run

    (tmp_path / "out").mkdir()
    path = save(tmp_path / "f", rows(120))
    run(config(path), {}, tmp_path / "out", RUNTIME)
    assert (tmp_path / "out" / "task.json").read_bytes() == (task / "task.json").read_bytes()
