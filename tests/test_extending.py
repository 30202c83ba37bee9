"""docs/extending.md, done: its files in an empty folder, its commands on the embedded task."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", re.DOTALL)
ENTRIES = "[rlhf_lab]\nmy_lab = my_lab:register\n[rlhf_lab.figures]\ncolder = my_lab.colder_figure\n"


@pytest.fixture
def package(tmp_path):
    """Runs a module's command line where the page's package is installed."""
    files = dict(BLOCK.findall((ROOT / "docs" / "extending.md").read_text()))
    assert len(files) == 5, sorted(files)
    files["my_lab-1.dist-info/METADATA"] = "Metadata-Version: 2.1\nName: my-lab\nVersion: 1\n"
    files["my_lab-1.dist-info/entry_points.txt"] = ENTRIES
    for name, text in files.items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(text)
    paths = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    environment = {**os.environ, "RLHF_LAB_STORE": str(tmp_path / "store"), "PYTHONPATH": paths}

    def call(module, *arguments):
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


@pytest.mark.slow
def test_the_page_on_extending_does_what_it_says(package, tmp_path):
    package("rlhf_lab", "experiment=tiny", "policy=colder", "labeler=lazy", "labeler.threshold=1")
    package("analysis.commands.figures", "colder")
    assert len(list((tmp_path / "store" / "colder").iterdir())) == 1
    out = tmp_path / "figures"
    assert {path.name for path in out.iterdir()} >= {"colder.png", "colder.pdf", "colder.csv"}
    lines = (out / "colder.csv").read_text().splitlines()
    assert len(lines) == 1 + 3  # temperatures 1, 0.7, 0.4
    assert json.loads((out / "colder.claims.json").read_text()) == []
    kl = [float(line.split(",")[lines[0].split(",").index("kl")]) for line in lines[1:]]
    assert kl[0] == 0 < kl[1] < kl[2]
