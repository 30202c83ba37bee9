"""Another package adds a method: its schema, its values and its stage, found through an entry point."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

MODULE = '''
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rlhf_lab.config.policies import Policy
from rlhf_lab.config.registry import option


@option("policy", "oracle")
@dataclass(slots=True)
class Oracle(Policy):
    """The best of `samples` by length."""

    longest: bool

    STAGE: ClassVar[str] = "my_method.stage"
    NEEDS: ClassVar[tuple[str, ...]] = ()


def register():
    return Path(__file__).parent / "conf"
'''
STAGE = """
VERSION = 1


def run(config, inputs, out, runtime):
    from fake_stages import samples

    samples("bon" if config.longest else "ppo", config, out)
"""
VALUES = """defaults:
  - /schema/policy@_here_: oracle
  - _self_
seed: 0
prompts: 4
samples: 2
longest: true
"""


@pytest.fixture
def plugin(tmp_path):
    files = {
        "my_method/__init__.py": MODULE,
        "my_method/stage.py": STAGE,
        "my_method/conf/policy/oracle.yaml": VALUES,
        "my_method-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: my-method\nVersion: 1\n",
        "my_method-1.dist-info/entry_points.txt": "[rlhf_lab]\nmine = my_method:register\n",
    }
    for name, text in files.items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(text)
    paths = [tmp_path / "site", TESTS / "fakes", TESTS.parent]
    environment = {
        **os.environ,
        "RLHF_LAB_STORE": str(tmp_path / "store"),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }

    def call(*arguments):
        command = [sys.executable, "-m", "rlhf_lab", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )

    return call


def test_a_method_of_another_package_runs_in_workers_too(plugin, tmp_path):
    workers = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    answer = plugin("-m", "policy=oracle", "policy.longest=true,false", *workers)
    assert answer.returncode == 0, answer.stderr
    assert len(list((tmp_path / "store").glob("stage/*/samples.parquet"))) == 2


def test_its_options_are_in_the_help_and_its_keys_are_checked(plugin):
    assert " | oracle" in plugin("--help").stdout
    wrong = plugin("policy=oracle", "policy.longst=true")
    assert wrong.returncode == 2 and "did you mean policy.longest?" in wrong.stderr
