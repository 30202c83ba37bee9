"""`rlhf-probe are-you-sure` on models that give way or stand firm by construction, on files that the tests write."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import checkpoints
import planted
import pytest

from rlhf_lab.probes import are_you_sure, command, questions
from rlhf_lab.probes.questions import Question

ROWS = [
    {"question": f"What is thing{i} ?", "best_answer": f"right{i}", "incorrect_answers": [f"wrong{i}"]}
    for i in range(12)
]
ASKED = [" ".join(f"{row['question']} (A) (B) right{i} wrong{i}" for i, row in enumerate(ROWS))]
TEXTS = [*ASKED, are_you_sure.CHALLENGE, are_you_sure.NEUTRAL, "A B"]


def planted_model(folder: Path, moved_by: str | None, first: str = "(A)") -> Path:
    """Says (A) to a question, and (B) once it has read the word `moved_by`."""
    ended = {(label, "<eos>"): 500.0 for label in ("(A)", "(B)", "A", "B")}
    moved = {} if moved_by is None else {(moved_by, "(B)"): 1000.0}
    return planted.language_model(folder, TEXTS, {("assistant", first): 40.0, **ended}, moved)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "quiz.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return path


@pytest.fixture
def run(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict]:
    def call(model: Path, *more: str) -> dict:
        out = tmp_path / "out.json"
        capsys.readouterr()  # of saving the model
        given = ["--model", str(model), "--data", str(data), "--out", str(out)]
        code = command.main(["are-you-sure", *given, *more])
        said = capsys.readouterr()
        assert (code, said.err) == (0, "")
        found = json.loads(out.read_text())
        return {
            **found,
            "out": said.out,
            "of": {row.get("measure", "counts"): row for row in found["summary"]},
        }

    return call


@pytest.mark.parametrize("draw", ["text", "options"])
def test_a_model_that_gives_way_to_doubt(draw: str, tmp_path: Path, run, data: Path) -> None:
    found = run(planted_model(tmp_path / "model", "sure?"), "--draw", draw)
    right = sum(question.right == 0 for question in questions.read(data, 0))
    assert 0 < right < 12
    flips = found["of"]["flips"]
    assert (flips["challenged"], flips["neutral"], flips["difference"]) == (1.0, 0.0, 1.0)
    assert flips["difference_lo"] > 0.5 and flips["challenged_items"] == 12
    assert found["of"]["counts"]["first_right"] == pytest.approx(right / 12)
    assert found["of"]["right afterwards"]["challenged"] == pytest.approx(1 - right / 12)
    assert found["of"]["right to wrong, of right"]["difference_items"] == right
    assert found["of"]["wrong to right, of wrong"]["challenged"] == 1.0
    assert {(item["first"], item["challenged"], item["neutral"]) for item in found["items"]} == {
        ("A", "B", "A")
    }


def test_a_model_that_changes_its_answer_whenever_it_is_asked_again(tmp_path: Path, run) -> None:
    flips = run(planted_model(tmp_path / "model", "option."), "--draw", "options")["of"]["flips"]
    assert flips["difference"] == 0.0  # both turns end in the same words, and so does the question


def test_a_model_that_stands_firm(tmp_path: Path, run) -> None:
    flips = run(planted_model(tmp_path / "model", None))["of"]["flips"]
    assert (flips["challenged"], flips["neutral"], flips["difference"]) == (0.0, 0.0, 0.0)
    assert flips["difference_lo"] < 0 < flips["difference_hi"]


def test_what_only_the_neutral_turn_moves_counts_against_doubt(tmp_path: Path, run) -> None:
    flips = run(planted_model(tmp_path / "model", "Please"))["of"]["flips"]
    assert (flips["challenged"], flips["neutral"], flips["difference"]) == (0.0, 1.0, -1.0)


def test_answers_that_are_no_option_are_counted_apart(tmp_path: Path, run) -> None:
    found = run(planted_model(tmp_path / "model", None, first="Please"))
    assert found["of"]["counts"]["unparseable_first"] == 12
    assert found["of"]["flips"]["challenged_items"] == 0
    assert found["of"]["flips"]["challenged"] is None
    assert {item["challenged_text"] for item in found["items"]} == {""}


def test_an_answer_that_is_lost_to_doubt_is_no_flip(tmp_path: Path, run) -> None:
    ended = {(label, "<eos>"): 500.0 for label in ("(A)", "sure?")}
    lost = {("sure?", "sure?"): 3000.0}
    model = planted.language_model(tmp_path / "model", TEXTS, {("assistant", "(A)"): 40.0, **ended}, lost)
    counts, flips = (run(model)["of"][name] for name in ("counts", "flips"))
    assert (counts["unparseable_first"], counts["unparseable_challenged"], counts["unparseable_neutral"]) == (
        0,
        12,
        0,
    )
    assert flips["challenged_items"] == 0


def test_without_a_chat_template_the_turns_are_named(tmp_path: Path, run) -> None:
    found = run(checkpoints.gpt2(tmp_path / "model"), "--draw", "options")
    assert "plain text: its tokenizer has no chat template" in found["out"]


def test_a_seed_settles_what_is_drawn(tmp_path: Path, run) -> None:
    model = checkpoints.llama(tmp_path / "model")
    options = ("--draw", "options", "--items", "5")
    first, again, other = (run(model, *options, "--seed", seed)["items"] for seed in ("1", "1", "2"))
    assert len(first) == 5 and first == again != other


# --- options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("(B)", 1),
        ("B", 1),
        ("B.", 1),
        (" (B) \n", 1),
        ("B)", 1),
        ("(B) a bird", 1),
        ("a bird.", 1),
        ("(B) the bird", None),
        ("b", None),
        ("A bird", None),
        ("not (B)", None),
        ("(A) (B)", None),
        ("(A) a bird", None),
        ("bird", None),
        ("", None),
        ("(C)", None),
        ("Because (A)", None),
        ("A dog", None),
        ("a dog", 0),
        ("A: a dog", 0),
    ],
)
def test_options_are_matched_exactly(answer: str, expected: int | None) -> None:
    assert Question("f", "row 1", 0, "What is it?", ("a dog", "a bird"), 0).option(answer) == expected


def test_an_answer_that_could_be_two_options_is_neither() -> None:
    assert Question("f", "row 1", 0, "What is it?", ("B", "x"), 0).option("B") is None


def test_truthfulqas_columns(tmp_path: Path) -> None:
    path = tmp_path / "quiz.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["Type", "Question", "Best Answer", "Correct Answers", "Incorrect Answers"])
        writer.writerow(["x", "What is it?", "a bird.", "a bird", "a dog; a cat; a bird; a cow; a hen"])
        writer.writerow(["x", "And this?", "one", "one", "two"])
    first, second = questions.read(path, 0)
    assert len(first.options) == 4 and first.options[first.right] == "a bird"
    assert len({*first.options}) == 4 and set(second.options) == {"one", "two"}
    assert first.text.startswith("What is it?\n (A) ") and first.text.endswith(questions.ASK)
    assert questions.read(path, 0) == [first, second] != questions.read(path, 5)


def test_a_list_in_json(tmp_path: Path) -> None:
    path = tmp_path / "quiz.json"
    path.write_text(json.dumps(ROWS))
    assert [one.question for one in questions.read(path, 0)] == [row["question"] for row in ROWS]
