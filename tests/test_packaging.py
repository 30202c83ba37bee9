"""What is installed finds its configuration: a wheel away from the checkout, with nothing of it beside."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_wheel_composes_from_anywhere(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=TOP, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    zipfile.ZipFile(wheel).extractall(installed)
    shipped = {
        path.relative_to(installed / "rlhf_lab").as_posix() for path in installed.glob("rlhf_lab/*/**/*.yaml")
    }
    assert {"conf/config.yaml", "conf/rm/3k.yaml", "sweeps/quickstart.yaml"} <= shipped
    assert {path.name for path in installed.iterdir()} == {
        "rlhf_lab",
        "analysis",
        f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info",
    }

    environment = {**os.environ, "PYTHONPATH": str(installed)}
    for arguments in (
        ["--cfg", "job", "policy=ppo"],
        ["experiment=quickstart", "runtime.plan=true"],
        ["--help"],
    ):
        command = [sys.executable, "-m", "rlhf_lab", *arguments]
        answer = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
    assert list(elsewhere.iterdir()) == []
