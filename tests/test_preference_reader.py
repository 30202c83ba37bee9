"""Every format that is read, and every row that is dropped; tests/test_bad_input.py has the files that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from dialogues import marked, rows, save

from rlhf_lab.tasks import json_lines
from rlhf_lab.tasks.preference_pairs.formats import Comparison, Unusable, comparison
from rlhf_lab.tasks.preference_pairs.reader import read

ASKED = [{"role": "user", "content": "How tall is it?"}]
PAIR = Comparison(ASKED, "Two metres.", "Who knows.")
TWO_TURNS = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Good day."},
    {"role": "user", "content": "How tall is it?"},
]


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def whole(answer: str) -> str:
    return marked([("Human", "How tall is it?"), ("Assistant", answer)])


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": whole("Two metres."), "rejected": whole("Who knows.")},
        {"chosen": [*ASKED, said("Two metres.")], "rejected": [*ASKED, said("Who knows.")]},
        {"prompt": "How tall is it?", "chosen": "Two metres.", "rejected": " Who knows.\n"},
        {
            "prompt": marked([("Human", "How tall is it?"), ("Assistant", "")]),
            "chosen": "Two metres.",
            "rejected": "Who knows.",
        },
        {"prompt": ASKED, "chosen": "Two metres.", "rejected": "Who knows."},
        {"prompt": ASKED, "chosen": [said("Two metres.")], "rejected": [said("Who knows.")]},
        {
            "prompt": "How tall is it?",
            "chosen": [*ASKED, said("Two metres.")],
            "rejected": [*ASKED, said("Who knows.")],
        },
        {
            "prompt": None,
            "chosen": whole("Two metres."),
            "rejected": whole("Who knows."),
            "source": "extra fields are ignored",
        },
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_every_format_gives_the_same_comparison(row: dict, compress: bool, tmp_path: Path) -> None:
    path = save(tmp_path / "any_name", [row], compress)  # gzip is known by its first bytes, not by the name
    assert read(str(path)) == ([PAIR], {})


def test_earlier_turns_belong_to_the_prompt(tmp_path: Path) -> None:
    turns = [("Human", "Hello"), ("Assistant", "Good day."), ("Human", "How tall is it?")]
    row = {
        "chosen": marked([*turns, ("Assistant", "Two metres.")]),
        "rejected": marked([*turns, ("Assistant", "Who knows.")]),
    }
    assert read(str(save(tmp_path / "f", [row]))).comparisons == [
        Comparison(TWO_TURNS, "Two metres.", "Who knows.")
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            {"chosen": whole("A."), "rejected": whole("B.").replace("tall", "wide")},
            "chosen and rejected answer different prompts",
        ),
        ({"chosen": whole("A."), "rejected": whole(" A. ")}, "chosen and rejected are identical"),
        ({"chosen": whole("A."), "rejected": whole("  ")}, "empty answer"),
        ({"prompt": " ", "chosen": "A.", "rejected": "B."}, "empty prompt"),
        ({"chosen": "no markup", "rejected": "at all"}, "not a dialogue that ends with an assistant turn"),
        ({"prompt": ASKED, "chosen": ASKED, "rejected": ASKED}, "no assistant turn at the end"),
        (
            {"prompt": TWO_TURNS[:2], "chosen": "A.", "rejected": "B."},
            "the prompt does not end with a user turn",
        ),
    ],
)
def test_rows_that_say_nothing_are_dropped_and_counted(row: dict, reason: str, tmp_path: Path) -> None:
    good = {"chosen": whole("Two metres."), "rejected": whole("Who knows.")}
    assert read(str(save(tmp_path / "f", [row, good, row]))) == ([PAIR], {reason: 2})
    with pytest.raises(ValueError, match=rf"no usable comparison is left \(1 x {reason}\)"):
        read(str(save(tmp_path / "g", [row])))


def test_a_mark_at_the_start_of_the_file_is_no_part_of_it(tmp_path: Path) -> None:
    path = save(tmp_path / "f", rows(2))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read(str(path)).comparisons) == 2


# --- the hub ------------------------------------------------------------------------------------------------

COMMIT = "0" * 40


def test_a_hub_data_set_is_loaded_at_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    save(tmp_path / "train.jsonl", rows(3))
    (tmp_path / "cache").mkdir()
    real, asked = datasets.load_dataset, {}

    def load(name: str, **options: object) -> object:
        asked.update(options, name=name)
        files = {"train": str(tmp_path / "train.jsonl")}
        return real("json", data_files=files, split=options["split"], cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", load)
    found = read("someone/pairs/harmless-base", COMMIT)
    assert found == read(str(tmp_path / "train.jsonl"))
    assert asked == {
        "name": "someone/pairs",
        "data_dir": "harmless-base",
        "split": "train",
        "revision": COMMIT,
    }


def test_what_the_hub_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(name: str, **options: object) -> object:
        raise ConnectionError("no route\nand a long trace")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(
        ValueError, match=r"the hub gave no `train` split \(ConnectionError: no route\)"
    ) as refused:
        read("someone/pairs", COMMIT)
    assert "\n" not in str(refused.value)


def test_whole_dialogues_as_text_beside_their_prompt_give_the_last_answer():
    """The prompt used to stay inside both answers."""
    row = {
        "prompt": "\n\nHuman: q\n\nAssistant:",
        "chosen": "\n\nHuman: q\n\nAssistant: yes",
        "rejected": "\n\nHuman: q\n\nAssistant: no",
    }
    pair = comparison(row)
    assert (pair.chosen, pair.rejected) == ("yes", "no") and pair.messages[-1]["content"] == "q"


@pytest.mark.parametrize("field", ["prompt", "chosen"])
def test_half_of_a_character_is_no_text(field):
    row = {"prompt": "q", "chosen": "yes", "rejected": "no"} | {field: "an emoji \ud83d"}
    with pytest.raises(Unusable, match="half of a character"):
        comparison(row)


def test_brackets_without_end_are_one_line(tmp_path):
    path = tmp_path / "deep.jsonl"
    path.write_text("[" * 5000)
    with pytest.raises(ValueError, match="line 1: too many brackets"):
        list(json_lines.rows(path, "give one"))
