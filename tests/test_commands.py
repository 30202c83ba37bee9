"""The command line around stages that take milliseconds (tests/fakes): sweeps, failures, plans."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from rlhf_lab.commands import job
from rlhf_lab.stages import score
from rlhf_lab.store import records

TESTS = Path(__file__).parent
JUDGE = score.run  # the stage itself, before a test replaces it


def statuses(sweep="adhoc"):
    return [run.status for run in records.runs(sweep)]


def artifacts(stage):
    return sorted((records.store_root() / stage).glob("*/manifest.json"))


def test_one_run_leaves_its_record(lab, fakes):
    answer = lab("rm=25k", "policy=ppo", "policy.kl_coef=0.05", "score.extra=[]")
    assert answer.code == 0, answer.err
    (run,) = records.runs("adhoc")
    assert run.status == "made" and run.choices["rm"] == "25k" and run.config["policy"]["kl_coef"] == 0.05
    status = run.job()
    assert (
        status["state"] == "made"
        and status["command"].startswith("rlhf-lab rm=25k")
        and status["packages"]["torch"]
    )
    assert {"started", "ended", "seconds", "git", "sweep", "device", "threads", "processor"} <= status.keys()
    assert yaml.safe_load((run.folder / "config.yaml").read_text())["policy"]["kl_coef"] == 0.05
    assert yaml.safe_load((run.folder / "config.yaml").read_text())["choices"]["policy"] == "ppo"
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert {"task", "sft", "ppo", "score"} <= {line["stage"] for line in lines}
    assert "ppo" in (run.folder / "log.txt").read_text() and not (run.folder / "traceback.txt").exists()
    left = {path.name for path in Path.cwd().iterdir()}
    assert left == {"store"}, "Hydra leaves no folders of its own"


def test_a_failed_job_does_not_stop_the_others(lab, fakes, monkeypatch):
    sweep = ("-m", "policy=ppo", "replicate=r0,r1,r2")
    monkeypatch.setenv("FAKE_FAIL", "ppo:1")
    answer = lab(*sweep)
    assert answer.code == 1 and statuses() == ["made", "failed", "made"]
    failed = records.runs("adhoc")[1]
    assert (
        "RuntimeError: ppo was told to fail" in answer.out
        and str(failed.folder / "traceback.txt") in answer.out
    )
    assert "ppo was told to fail" in (failed.folder / "traceback.txt").read_text()
    assert failed.job()["stage"] == "ppo"

    monkeypatch.delenv("FAKE_FAIL")
    before = {path: path.stat().st_mtime_ns for path in artifacts("ppo") + artifacts("reward_model")}
    assert lab(*sweep).code == 0 and statuses() == ["made", "made", "made"]
    assert all(path.stat().st_mtime_ns == when for path, when in before.items()), (
        "only what is missing is made"
    )
    assert len(artifacts("ppo")) == 3 and len(artifacts("sft")) == 1
    assert not (failed.folder / "traceback.txt").exists()


def test_equal_jobs_run_once_and_best_of_n_shares_its_samples(lab, fakes):
    assert lab("-m", "rm=3k,25k,3k", "policy=bon").code == 0
    assert (
        len(records.runs("adhoc")) == 2
        and len(artifacts("sft_answers")) == 1
        and len(artifacts("reward_model")) == 2
    )


def test_values_of_one_method_reach_the_jobs_of_a_sweep_over_methods(lab, fakes):
    assert lab("-m", "policy=ppo", "policy.kl_coef=0.1", "policy.seed=0,1").code == 0
    assert [run.config["policy"]["kl_coef"] for run in records.runs("adhoc")] == [0.1, 0.1]


def test_a_plan_leaves_nothing(lab, fakes):
    answer = lab("-m", "rm=3k,25k", "replicate=r0,r1", "runtime.plan=true")
    assert answer.code == 0 and not records.store_root().exists()
    stages = [
        line.split()[0] for line in answer.out.splitlines() if "to make" in line and not line[0].isdigit()
    ]
    assert (
        stages.count("task") == 1 and stages.count("reward_model") == 4 and stages.count("sft_answers") == 2
    )
    assert "4 jobs" in answer.out and "?" in answer.out
    assert lab("rm=3k", "replicate=r0").code == 0
    again = lab("-m", "rm=3k,25k", "replicate=r0,r1", "runtime.plan=true")
    assert "made" in again.out and "unknown" not in again.out


def test_force_makes_a_stage_and_what_follows_again_once(lab, fakes):
    sweep = ("-m", "rm=3k,25k", "policy=ppo")
    assert lab(*sweep).code == 0
    times = {
        stage: [path.stat().st_mtime_ns for path in artifacts(stage)]
        for stage in ("sft", "reward_model", "score")
    }
    assert lab(*sweep, "runtime.force=[reward_model]").code == 0
    assert [path.stat().st_mtime_ns for path in artifacts("sft")] == times["sft"]
    for stage in ("reward_model", "score"):
        assert not set(times[stage]) & {path.stat().st_mtime_ns for path in artifacts(stage)}


def test_a_new_judge_scores_stored_samples_and_nothing_else_runs(lab, fakes):
    (Path.cwd() / "my_judge.py").write_text(
        "def judge(prompts, answers):\n    return [1.0 for _ in answers]\n"
    )
    assert lab("policy=ppo").code == 0
    count = {stage: len(artifacts(stage)) for stage in ("ppo", "reward_model", "score", "run")}
    assert lab("policy=ppo", "score.extra=[my_judge:judge]").code == 0
    added = {stage: len(artifacts(stage)) - count[stage] for stage in count}
    assert added == {"ppo": 0, "reward_model": 0, "score": 1, "run": 1}
    assert "my_judge:judge" in records.runs("adhoc")[0].rows().column_names


@pytest.fixture
def console(tmp_path):
    """`python -m rlhf_lab` in a process of its own, with the fake stages in it and in its workers."""

    def call(*arguments, **environment):
        paths = [str(TESTS / "fakes"), str(TESTS.parent)]
        fixed = {"RLHF_LAB_STORE": str(tmp_path / "store"), "PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, "-m", "rlhf_lab", *arguments]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, **fixed, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return call


@pytest.mark.timing
@pytest.mark.slow
def test_two_workers_share_stages_and_one_of_them_may_die(console, tmp_path):
    sweep = ("-m", "policy=ppo", "replicate=r0,r1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    first = console(*sweep, FAKE_KILL="ppo:1", FAKE_SLEEP="0.1")
    assert first.returncode == 1 and "its worker process died" in first.stdout, first.stdout + first.stderr
    assert "Traceback" not in first.stderr
    second = console(*sweep)
    assert second.returncode == 0, second.stderr
    store = tmp_path / "store"
    assert {run.status for run in records.runs("adhoc", store)} == {"made"}
    assert (
        len(list(store.glob("sft/*/manifest.json"))) == 1
        and len(list(store.glob("ppo/*/manifest.json"))) == 2
    )
    assert len((store / "launcher").exists() and list((store / "launcher").iterdir())) == 0


def test_help_names_every_group_and_four_examples(lab):
    answer = lab("--help")
    assert answer.code == 0 and answer.out.count("  rlhf-lab ") == 4 and "Hydra" not in answer.out
    for group in (path.name for path in (TESTS.parent / "conf").iterdir() if path.is_dir()):
        assert f"  {group} " in answer.out or not list((TESTS.parent / "conf" / group).glob("*.yaml"))


def test_cfg_shows_the_job(lab):
    answer = lab("--cfg", "job", "policy=ppo", "replicate=r3")
    shown = yaml.safe_load(answer.out)
    assert [shown[part]["seed"] for part in ("preferences", "rm", "policy")] == [3, 3, 3]
    assert shown["choices"]["policy"] == "ppo" and shown["choices"]["labeler"] == "gold_argmax"
    assert "choices" not in yaml.safe_load(lab("--cfg", "job", "--package", "policy", "policy=ppo").out)


def test_a_study_has_two_spellings(lab):
    shown, same = (
        yaml.safe_load(lab("--cfg", "job", f"{word}=quickstart").out) for word in ("experiment", "+sweeps")
    )
    assert shown == same and shown["choices"]["experiment"] == "quickstart" and shown["sft"]["steps"] == 150


def test_the_number_of_jobs_at_a_time_is_set_once(lab, monkeypatch):
    def launcher(*words):
        return yaml.safe_load(lab("--cfg", "hydra", "--package", "hydra.launcher", "--resolve", *words).out)

    monkeypatch.setenv("RLHF_LAB_JOBS", "16")
    assert launcher("experiment=quickstart")["n_jobs"] == launcher()["n_jobs"] == 16
    assert launcher("experiment=quickstart", "hydra.launcher.n_jobs=3")["n_jobs"] == 3
    assert "JoblibLauncher" in launcher()["_target_"]


def test_options_of_ones_own(lab, fakes, tmp_path):
    (tmp_path / "mine" / "rm").mkdir(parents=True)
    (tmp_path / "mine" / "rm" / "small.yaml").write_text("defaults:\n  - 3k\n  - _self_\nepochs: 7\n")
    assert lab("--config-dir", str(tmp_path / "mine"), "rm=small").code == 0
    (run,) = records.runs("adhoc")
    assert run.choices["rm"] == "small" and run.config["rm"]["epochs"] == 7


def test_wandb_mirrors_every_line_and_is_told_its_mode(lab, fakes, monkeypatch):
    calls, lines = [], []

    class Run:
        log = staticmethod(lines.append)
        finish = staticmethod(lambda: calls.append("finish"))

    def init(**settings):
        calls.append(settings)
        return Run

    wandb = SimpleNamespace(init=init, Settings=dict)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    assert lab("policy=ppo", "tracker=wandb", "tracker.tags=[one]").code == 0
    settings, end = calls
    assert settings["mode"] == "offline" and settings["group"] == "adhoc" and settings["tags"] == ["one"]
    assert settings["config"]["policy"]["class"] == "PPO" and end == "finish"
    assert {"step", "loss"} == {key.split("/")[1] for line in lines for key in line}
    assert {"ppo", "sft"} <= {key.split("/")[0] for line in lines for key in line}


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (SystemExit(0), "SystemExit: 0"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (
            RuntimeError("the first line\nthe second\nFor further information visit a page"),
            "RuntimeError: the first line",
        ),
    ],
)
def test_whatever_a_judge_raises_is_a_failure_of_its_job_alone(lab, fakes, monkeypatch, raised, said):
    """`sys.exit(0)` in a judge used to end the whole sweep with exit code 0; a long error showed its last line."""
    from rlhf_lab.stages import registry

    stage = registry.module("ppo")
    plain = stage.run

    def ends(config, inputs, out, runtime):
        if config.seed == 1:
            raise raised
        return plain(config, inputs, out, runtime)

    monkeypatch.setattr(stage, "run", ends)
    answer = lab("-m", "policy=ppo", "policy.seed=0,1,2")
    assert answer.code == 1 and statuses() == ["made", "failed", "made"]
    assert f"job 2 failed: {said} (the rest:" in answer.out


@pytest.mark.parametrize("source", ["import sys\nsys.exit(0)\n{}", "import sys\n{}    sys.exit(0)\n"])
def test_a_judge_that_exits_fails_its_jobs_alone(lab, fakes, tmp_path, monkeypatch, source):
    def run(config, inputs, out, runtime):
        stage = JUDGE if ":" in config.name else fake
        stage(config, inputs, out, runtime)

    fake = score.run
    monkeypatch.setattr(score, "run", run)
    (tmp_path / "leaving.py").write_text(source.format("def judge(prompts, answers):\n    print(end='')\n"))
    answer = lab("-m", "policy=ppo", "score.extra=[],[leaving:judge]", "policy.seed=0,1")
    assert answer.code == 1 and statuses() == ["made", "made", "failed", "failed"]
    assert "job 3 failed: SystemExit: 0" in answer.out and "job 4 failed: SystemExit: 0" in answer.out


def test_what_a_job_cannot_record_is_one_line_without_hydras(lab, fakes, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "/store/status.json")

    monkeypatch.setattr(job.Status, "begin", full)
    answer = lab("policy=ppo")
    assert answer.code == 1 and answer.err == ""
    assert "the launcher stopped with /store/status.json: No space left on device: free some" in answer.out


def test_what_wandb_is_told_holds_no_secret(lab, fakes, monkeypatch):
    told = {}
    run = SimpleNamespace(log=lambda line: None, finish=lambda: None)
    wandb = SimpleNamespace(init=lambda **settings: told.update(settings) or run, Settings=dict)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setenv("GITHUB_PAT", "planted-secret-1234")
    secret = "${oc.env:GITHUB_PAT}"
    words = [f"tracker.project={secret}", f"tracker.entity={secret}", f"tracker.tags=[{secret}]"]
    assert lab("policy=ppo", "tracker=wandb", *words).code == 0
    assert "planted-secret" not in str(told) and told["project"] == "[secret]"
    written = [path for path in records.store_root().rglob("*") if path.is_file()]
    assert not [path for path in written if b"planted-secret" in path.read_bytes()]


def test_brackets_in_a_label_are_printed(lab, fakes, tmp_path):
    (tmp_path / "own.py").write_text("def judge(prompts, answers): return [0.0] * len(answers)\n")
    answer = lab("-m", "policy=ppo", "score.extra=[],[own:judge]")
    assert answer.code == 0 and "score.extra=[own\\:judge]  " in answer.out  # Hydra writes the colon so
