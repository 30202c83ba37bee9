"""docs/tutorial.md, done: its commands one after the other, on the tiny task."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "tutorial.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
MODULES = {
    "rlhf-lab": "rlhf_lab",
    "rlhf-runs": "analysis.commands.runs",
    "rlhf-figures": "analysis.commands.figures",
}


@pytest.fixture
def call(tmp_path):
    """Runs one command of the page in an empty folder; what it prints."""
    environment = {**os.environ, "RLHF_LAB_STORE": str(tmp_path / "store"), "PYTHONPATH": str(ROOT)}

    def call(command):
        name, *arguments = shlex.split(command.replace("--sweep adhoc", "--sweep tiny"))
        if name == "rlhf-lab":
            arguments.append("experiment=tiny")  # which gives the sweep its name
        done = subprocess.run(
            [sys.executable, "-m", MODULES[name], *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    return call


def without_numbers(text):
    """The text with its white space and its numbers made alike; the tiny task has numbers of its own."""
    return re.sub(r"(?<![\w.])-?\d+(\.\d+)?(e-?\d+)?(?!\w)", "#", " ".join(text.split()))


def claims_of(text):
    """The sentence of every claim that the text has, without numbers."""
    found = re.findall(
        r"^(?:met|not met|undecided)\*? \((?:primary|exploratory)\)  (.*)$", text, re.MULTILINE
    )
    return [without_numbers(sentence) for sentence in found]


@pytest.mark.slow
def test_the_commands_of_the_tutorial_run_one_after_the_other(call, tmp_path):
    assert len(COMMANDS) == 8
    key, printed = None, {}
    for command in COMMANDS:
        if " KEY" in command:
            assert key is not None
            command = command.replace("KEY", key)
        printed[command] = call(command)
        if command == "rlhf-runs":
            key = next(iter(re.findall(r"\b[0-9a-f]{8}\b", printed[command])))
    assert re.search(r"n 1 \(SFT\)", printed[f"rlhf-runs show {key}"])
    quoted = claims_of(PAGE)
    assert len(quoted) == 2 and set(quoted) <= set(claims_of(printed[COMMANDS[-1]]))
    assert (tmp_path / "figures" / "gao2022_fig1.png").stat().st_size > 0
