"""A stage is known by its name: its module may move. A store of an earlier key format stays and is told apart."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from composing import experiment

from analysis.commands.runs import main as rlhf_runs
from rlhf_lab.pipeline.plan import plan
from rlhf_lab.stages import registry
from rlhf_lab.store import records, upkeep
from rlhf_lab.store.artifacts import MANIFEST, digest, sealed

EARLIER = "rlhf_lab.stages.somewhere.{}"  # what the first key format had in place of a stage's name


@pytest.fixture
def move(tmp_path, monkeypatch):
    """Move the modules of stages to another package, and say so in the registry."""
    package = tmp_path / f"moved_by_{tmp_path.name}"  # every test has its own, as modules stay imported
    package.mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    def call(*stages):
        for stage in stages:
            (package / f"new_{stage}.py").write_text(f"from {registry.MODULES[stage]} import *\n")
            monkeypatch.setitem(registry.MODULES, stage, f"{package.name}.new_{stage}")

    return call


def files(root):
    """Path -> bytes and time of every file of an artifact."""
    artifacts = [manifest.parent for manifest in root.glob(f"*/*/{MANIFEST}")]
    found = [path for folder in artifacts for path in folder.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


@pytest.mark.parametrize("policy", ["bon", "ppo", "dpo", "expert_iteration"])
def test_moving_every_stage_keeps_every_key(move, policy):
    before = [node.key for node in plan(experiment(f"policy={policy}")).walk()]
    move(*registry.MODULES)
    assert [node.key for node in plan(experiment(f"policy={policy}")).walk()] == before


def test_nothing_is_made_again_after_a_move_and_the_moved_module_is_what_runs(lab, fakes, move, monkeypatch):
    assert lab("policy=ppo").code == 0
    before = files(records.store_root())
    move("sft", "ppo")
    assert lab("policy=ppo").code == 0
    assert files(records.store_root()) == before
    calls = []
    moved = registry.module("ppo")
    monkeypatch.setattr(moved, "run", lambda *arguments, run=moved.run: calls.append(run(*arguments)))
    assert lab("policy=ppo", "runtime.force=[ppo]").code == 0
    assert moved.__name__.endswith(".new_ppo") and len(calls) == 1


def make_earlier(root):
    """Turn a store into one of the first key format: other keys, and a stage named by its module."""
    folders = [path for path in root.glob("*/*") if re.fullmatch("[0-9a-f]{20}", path.name)]
    keys = {folder.name: digest(["earlier", folder.name]) for folder in folders}

    def with_earlier_keys(text):
        return re.sub("[0-9a-f]{20}", lambda match: keys.get(match[0], match[0]), text)

    for path in [*root.glob(f"*/*/{MANIFEST}"), *root.glob("runs/*/*.json"), *root.glob("sweeps/*/*.json")]:
        path.write_text(with_earlier_keys(path.read_text()))
    for folder in folders:
        folder.rename(folder.with_name(keys[folder.name]))
    for path in root.glob(f"*/*/{MANIFEST}"):
        manifest = json.loads(path.read_text())
        del manifest["format"], manifest["seal"]
        manifest["stage"] = EARLIER.format(manifest["stage"])
        path.write_text(json.dumps(sealed(manifest)))


@pytest.fixture
def earlier(lab, fakes):
    """A store of the first key format with a sweep of two runs, and its rows as they were before."""
    assert lab("-m", "policy=ppo", "replicate=r0,r1").code == 0
    rows = records.load("adhoc")
    make_earlier(records.store_root())
    return records.store_root(), rows


def test_a_store_of_an_earlier_format_can_be_read_and_verified(earlier, capsys):
    _, rows = earlier
    pd.testing.assert_frame_equal(records.load("adhoc").drop(columns="run"), rows.drop(columns="run"))
    (run, _) = records.runs("adhoc")
    assert run.evaluation("proxy")["accuracy"] == 0.7 and "samples/sft" in run.made_by()
    assert rlhf_runs(["verify"]) == 0 and rlhf_runs(["show", run.key[:8]]) == 0
    assert run.key[:8] in capsys.readouterr().out


def test_a_new_run_says_in_one_line_that_a_store_has_an_earlier_format_and_removes_nothing(
    earlier, lab, capsys
):
    root, _ = earlier
    before = files(root)
    answer = lab("-m", "policy=ppo", "replicate=r0,r1")
    assert answer.code == 0
    (line,) = [line for line in answer.err.splitlines() if "earlier format" in line]
    assert line == upkeep.earlier_format(root) and line.startswith(f"{root} holds 2 runs whose keys")
    after = files(root)
    assert before.items() <= after.items() and len(after) == 2 * len(before)
    assert rlhf_runs(["prune", "--yes"]) == 0 and files(root) == after
    assert "all of it is needed" in capsys.readouterr().out
    assert len(records.history()) == 4, "the runs of both formats are listed"


def test_what_an_earlier_format_made_can_be_pruned_once_its_sweep_record_is_gone(earlier, lab, capsys):
    root, _ = earlier
    before = files(root)
    (record,) = root.glob("sweeps/adhoc/*.json")
    assert lab("policy=ppo").code == 0
    record.unlink()
    assert rlhf_runs(["prune", "--yes"]) == 0
    assert not any(path.exists() for path in before) and upkeep.earlier_format(root) is None


def test_a_store_of_this_format_is_not_spoken_of(lab, fakes):
    assert lab("policy=ppo").code == 0
    assert upkeep.earlier_format(records.store_root()) is None and "format" not in lab("policy=ppo").err
    assert upkeep.earlier_format(Path("nowhere")) is None
