"""What `rlhf-probe` refuses: one line and exit code 2."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import checkpoints
import pytest
from bad_inputs import edited

from rlhf_lab.probes import command

GOOD = {
    "question": "Hm? (A)\n (A) a\n (B) b\n",
    "answer_matching_behavior": "(A)",
    "answer_not_matching_behavior": "(B)",
}
PAIRED = {"prompt": "Hm?\n (A) a\n (B) b\n", "corrects": ["(A)"], "incorrects": ["(B)"]}
QUESTION = {"question": "Hm?", "best_answer": "a", "incorrect_answers": ["b"]}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    checkpoints.llama(folder / "llama")
    checkpoints.llama(folder / "reward", classifier=True)
    checkpoints.llama(folder / "labels", classifier=True, labels=3)
    for name, changes in {
        "neither": {"architectures": ["T5ForConditionalGeneration"]},
        "own-code": {"auto_map": {"AutoModelForCausalLM": "modeling_own.OwnModel"}},
    }.items():
        shutil.copytree(folder / "llama", folder / name)
        edited(folder / name / "config.json", **changes)
    (folder / "empty").mkdir()
    (folder / "file").write_text("")
    return folder


@pytest.fixture
def refused(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """The one line that a command gets; it runs beside the models and good.jsonl, bad.jsonl."""
    monkeypatch.chdir(models)
    (tmp_path / "good.jsonl").write_text(json.dumps(GOOD))

    def call(line: str) -> str:
        capsys.readouterr()
        try:
            code = command.main(line.replace("HERE", str(tmp_path)).split())
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        assert code == 2 and said.out == ""
        assert said.err.startswith("rlhf-probe: ") and said.err.count("\n") == 1
        return said.err

    return call


SYCOPHANCY = "sycophancy --data HERE/good.jsonl"
COMMANDS = {
    "": "required: sycophancy . are-you-sure",
    "sycophancy": "required: --model, --data",
    f"{SYCOPHANCY} --model llama --oders both": "no option '--oders': did you mean",
    f"{SYCOPHANCY} --model llama --items 0": "expected a whole number above 0",
    f"{SYCOPHANCY} --model llama --seed -1": "--seed",
    f"{SYCOPHANCY} --model llama --out HERE/x.txt": r"expected a name that ends in .csv or .json",
    f"{SYCOPHANCY} --model llama --out HERE/no/x.csv": "found no folder to write this file in",
    f"{SYCOPHANCY} --model llama --device tpu": "--device tpu: torch .* finds no such device",
    f"{SYCOPHANCY} --model ./missing": "found no such folder, and it is no hub id",
    f"{SYCOPHANCY} --model /missing": "found no such folder",
    f"{SYCOPHANCY} --model file": "found a file, expected a folder",
    f"{SYCOPHANCY} --model empty": "found no config.json",
    f"{SYCOPHANCY} --model neither": "found a model T5For.*expected a causal language model or a sequence classifier",
    f"{SYCOPHANCY} --model own-code": "code of the checkpoint",
    f"{SYCOPHANCY} --model labels": "found a classifier of 3 labels, expected one",
    "sycophancy --model llama --data HERE/missing.jsonl": "found no such file.*check --data",
    "sycophancy --model llama --data empty": "found no .*jsonl.* in this folder",
    "are-you-sure --model llama --data HERE/missing.csv": "found no such file",
    "are-you-sure --model llama --data HERE/good.jsonl": "found no `best_answer`",
}  # fmt: skip


@pytest.mark.parametrize("line", COMMANDS)
def test_a_mistake_is_one_line(line: str, refused) -> None:
    assert re.search(COMMANDS[line], refused(line))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"question": "Hm?"}, "expected the fields question, answer_matching_behavior, .* found question"),
        ([1], "found a list, expected an object"),
        ({**GOOD, "question": " "}, "found no text in `question`"),
        ({**GOOD, "answer_matching_behavior": []}, "found no answer in `answer_matching_behavior`"),
        ({**GOOD, "answer_matching_behavior": 3}, "found no answer in `answer_matching_behavior`"),
        (PAIRED, "do not say which option the user holds.*--matching"),
        (
            {**GOOD, "answer_matching_behavior": "(C)"},
            "none of 1 items can be scored .an answer is none of its options",
        ),
    ],
)
def test_a_wrong_row_is_one_line(row: object, expected: str, refused, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(json.dumps(row))
    assert re.search(expected, refused("sycophancy --model llama --data HERE/bad.jsonl"))


@pytest.mark.parametrize(
    ("name", "contents", "expected"),
    [
        ("bad.csv", "Question,Answer\na,b\n", "row 1: found no `best_answer` .fields: Question, Answer"),
        ("bad.csv", "Question\n", "found no rows"),
        ("bad.csv", 'Question\n"' + "x" * 200_000, r"bad.csv: not CSV \(field larger than field limit"),
        ("bad.csv", "Question\n\0", "bad.csv: not CSV|found no `best_answer`"),
        ("bad.json", "[", "not JSON"),
        ("bad.json", "[" * 200_000, "bad.json: too many brackets"),
        ("bad.jsonl", "[" * 200_000, "line 1: too many brackets"),
        ("bad.json", "[3]", "row 1: found a int"),
        (
            "bad.json",
            json.dumps([{**QUESTION, "incorrect_answers": ["a."]}]),
            "found no wrong answer that differs",
        ),
        ("bad.jsonl", json.dumps({**QUESTION, "incorrect_answers": [1]}), "line 1: expected texts"),
    ],
)
def test_questions_that_cannot_be_asked(
    name: str, contents: str, expected: str, refused, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(contents)
    assert re.search(expected, refused(f"are-you-sure --model llama --data HERE/{name}"))


def test_only_a_language_model_can_be_doubted(refused, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(json.dumps(QUESTION))
    assert "expected a language model" in refused("are-you-sure --model reward --data HERE/q.jsonl")


def test_a_hub_repository_that_cannot_be_had(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fetch(name: str, **options: object) -> str:
        raise ConnectionError("no route\nand a long trace")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    line = refused("sycophancy --model owner/name --data HERE/good.jsonl")
    assert "owner/name: neither a local folder nor a hub repository" in line


def test_help_needs_nothing_heavy(capsys: pytest.CaptureFixture[str]) -> None:
    import subprocess
    import sys

    script = (
        "import sys; from rlhf_lab.probes import command\n"
        "try: command.main(['sycophancy', '--help'])\n"
        "except SystemExit: sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and "--orders" in done.stdout
