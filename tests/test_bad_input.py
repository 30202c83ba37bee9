"""Bad input, one row a case: one line that says what is wrong, exit code 2, and a store as it was."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import checkpoints
import pytest
from bad_inputs import CASES, CHECKPOINTS, DATA, FOREIGN, MODELS, VALUES, WORDS
from conftest import Answer

from rlhf_lab.config import registry

TESTS = Path(__file__).parent
PROGRAM = re.compile(r"rlhf-\w+")


@pytest.fixture(scope="module", autouse=True)
def given(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The whole checkpoints that rows spoil."""
    folder = tmp_path_factory.mktemp("checkpoints")
    CHECKPOINTS["llama"] = checkpoints.llama(folder / "llama")
    CHECKPOINTS["reward"] = checkpoints.llama(folder / "reward", classifier=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one run in it."""
    folder = tmp_path_factory.mktemp("made")
    done = in_a_process(folder, "rlhf-lab policy=bon")
    assert done.code == 0, done.err
    return folder / "store"


def in_a_process(folder: Path, command: str) -> Answer:
    """The command in a process of its own, with the fake stages in it."""
    *settings, program = command.partition("rlhf-")[0].split(), command[command.index("rlhf-") :].split()
    modules = {"rlhf-lab": "rlhf_lab", "rlhf-figures": "analysis.commands.figures"}
    paths = os.pathsep.join([str(TESTS / "fakes"), str(TESTS.parent)])
    environment = {**os.environ, "RLHF_LAB_STORE": str(folder / "store"), "PYTHONPATH": paths}
    environment |= dict(setting.split("=") for setting in settings[0])
    done = subprocess.run(
        [sys.executable, "-m", modules[program[0]], *program[1:]],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return Answer(done.returncode, done.stdout, done.stderr)


def in_this_process(lab, capsys, command: str) -> Answer:
    from analysis.commands import figures, runs

    program, *arguments = command.split()
    if program == "rlhf-lab":
        return lab(*arguments)
    try:
        code = {"rlhf-figures": figures.main, "rlhf-runs": runs.main}[program](arguments)
    except SystemExit as end:
        code = end.code
    return Answer(code, *capsys.readouterr())


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below `folder`: the bytes of files, None for folders."""
    found = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in found}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, lab, fakes, made: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    case = CASES[name]
    monkeypatch.setattr(registry, "GROUPS", {group: dict(of) for group, of in registry.GROUPS.items()})
    shutil.copytree(made, tmp_path / "store")
    case.make(tmp_path)
    before = contents(tmp_path / "store")
    answer = (
        in_a_process(tmp_path, case.command) if case.alone else in_this_process(lab, capsys, case.command)
    )
    assert answer.code == 2 and answer.out == "", answer
    line = answer.err.removesuffix("\n")
    assert (
        answer.err.endswith("\n") and line.isprintable() and line.startswith(PROGRAM.findall(case.command)[0])
    )
    assert re.search(case.line, line), line
    assert contents(tmp_path / "store") == before


def test_the_table_is_whole() -> None:
    assert len(CASES) == sum(map(len, (WORDS, VALUES, DATA, MODELS, FOREIGN))) >= 100
