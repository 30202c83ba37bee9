"""docs/tutorial.md, done: its commands one after the other, on the tiny task."""

import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
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
    environment = {
        **os.environ,
        "RLHF_LAB_STORE": str(tmp_path / "store"),
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "400",  # so that every row of a table is one line
    }

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
    return re.sub(r"(?<![\w.])-?\d+(\.\d+)?(?!\w)", "#", " ".join(text.split()))


def quoted_claims():
    """The sentence and the rule of every claim in the last table of the page."""
    heading, _, *lines = PAGE.rsplit("```text\n", 1)[1].split("\n\n")[0].splitlines()
    starts = [heading.index(column) for column in ("claim", "measured", "rule", "state")]
    claims = []
    for line in lines:
        sentence, measured, rule = (line[a:b].strip() for a, b in pairwise(starts))
        if measured:
            claims.append([sentence, rule])
        else:
            claims[-1] = [f"{claims[-1][0]} {sentence}", f"{claims[-1][1]} {rule}"]
    return claims


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
    assert len(quoted_claims()) == 3
    claims_printed = without_numbers(printed[COMMANDS[-1]])
    for sentence, rule in quoted_claims():
        assert without_numbers(sentence) in claims_printed
        assert without_numbers(rule) in claims_printed
    assert "measured [interval]" in claims_printed and "measured [interval]" in PAGE
    assert (tmp_path / "figures" / "gao2022_fig1.png").stat().st_size > 0
