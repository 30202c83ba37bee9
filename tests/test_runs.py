"""`rlhf-runs`: what was run, why some of it failed, and what its answers read like."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from analysis.commands.runs import main
from analysis.runs.run_summary import answers, course
from rlhf_lab.store import records, sweep_records


def test_the_list_names_every_run_and_why_some_failed(lab, fakes, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_FAIL", "ppo:1")
    assert lab("-m", "policy=ppo", "policy.kl_coef=0.05", "replicate=r0,r1").code == 1
    assert lab("policy=bon", "rm=25k", "labeler=flip", "labeler.rate=0.5").code == 0
    assert main([]) == 0
    out = capsys.readouterr().out
    lines = {
        run.key: next(line for line in out.splitlines() if run.key[:8] in line) for run in records.history()
    }
    made, failed, bon = ("ppo", "made"), ("ppo", "failed"), ("bon", "made")
    for run in records.history():
        kind = (run.choices["policy"], run.status)
        assert kind in (made, failed, bon) and all(word in lines[run.key].split() for word in kind)
    assert len(lines) == 3 and "0.05" in out and "25k" in out and out.count("flip 0.5") == 1
    assert "failed: RuntimeError: ppo was told to fail (the rest: " in out and "traceback.txt)" in out
    assert main(["--sweep", "quickstart"]) == 2
    assert "rlhf-lab experiment=quickstart" in capsys.readouterr().err


def test_one_run_shows_how_it_was_made_and_the_same_prompts_answers(lab, fakes, capsys):
    assert lab("policy=bon").code == 0
    (run,) = records.runs("adhoc")
    assert main(["show", run.key[:6]]) == 0
    out = capsys.readouterr().out
    assert "command     rlhf-lab policy=bon" in out and "git commit" in out and "torch 2." in out
    for text in ("n 1 (SFT)", "(gold's peak)", "preferences:", "choices:"):
        assert text in out
    assert out.count("question") == 3
    parts = ("state       made", "KL, nats", "question", "git commit", "preferences:")
    assert sorted(parts, key=out.index) == list(parts), "what happened comes first, the configuration last"


def test_a_bad_record_is_a_line_and_hides_no_run(lab, fakes, capsys):
    assert lab("policy=bon").code == 0
    (run,) = records.runs("adhoc")
    bad = records.store_root() / "sweeps" / "other" / "2026-01-01T00-00-00-000000Z.json"
    bad.parent.mkdir()
    bad.write_text("{")
    assert main([]) == 0
    told = capsys.readouterr()
    assert (
        run.key[:8] in told.out
        and told.err.count("\n") == 1
        and f"sweep record other/{bad.name} is not JSON" in told.err
    )


@pytest.mark.parametrize("words", [["--store", "S"], ["--store", "S", "list"], ["list", "--store", "S"]])
def test_the_store_stands_before_or_after_the_command(words, lab, fakes, capsys, monkeypatch, tmp_path):
    assert lab("policy=bon").code == 0
    (run,) = records.runs("adhoc")
    monkeypatch.setenv("RLHF_LAB_STORE", str(tmp_path / "elsewhere"))
    assert main([word.replace("S", str(tmp_path / "store")) for word in words]) == 0
    assert run.key[:8] in capsys.readouterr().out


def test_a_damaged_run_is_listed_with_the_command_that_heals_it(lab, fakes, capsys):
    assert lab("-m", "policy=bon,ppo").code == 0
    best, trained = records.runs("adhoc")
    samples = best.root.joinpath(*best.manifest()["inputs"]["samples"])
    (samples / records.SAMPLES).write_text("short")
    assert main([]) == 0
    out = capsys.readouterr().out
    assert (
        f"run {best.key[:8]}: sft_answers/{samples.name} has 5 bytes" in out
        and "again: rlhf-lab -m policy=bon" in out
    )
    assert out.count(trained.key[:8]) == 1
    assert main(["show", best.key]) == 2 and "has 5 bytes" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error(lab, fakes, tmp_path):
    assert lab("policy=bon").code == 0
    command = [sys.executable, "-m", "analysis.commands.runs", "--store", str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""


def test_nothing_run_yet_says_how_to_start(tmp_path, capsys):
    assert main(["--store", str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err
        == "rlhf-runs: nothing has been run here yet; start with: rlhf-lab experiment=quickstart\n"
    )


def test_the_course_of_a_run(lab, fakes):
    assert lab("-m", "policy=bon,ppo").code == 0
    best, trained = (course(run) for run in records.runs("adhoc"))
    assert best.points.tolist() == [1, 2] and best.kl[0] == 0
    # gold and proxy are 0..11, four answers to each prompt: a mean of 5.5; the best of two of 0..3 is 14/6
    assert best.gold.tolist() == pytest.approx([5.5, 4 + 14 / 6])
    assert trained.points.tolist() == [0, 10] and trained.gold.tolist() == [5.0, 6.0] and trained.peak == 1


def test_best_of_n_shows_the_answer_that_the_proxy_would_choose(lab, fakes):
    assert lab("policy=bon").code == 0
    (run,) = records.runs("adhoc")
    shown = answers(run, prompts=2)
    assert list(shown) == ["question 0?", "question 2?"]
    assert [answer.text for answer in shown["question 2?"]] == ["answer 8 seed 0", "answer 9 seed 0"]


def test_listing_needs_neither_torch_nor_hydra(tmp_path):
    code = "import sys; from analysis.commands.runs import main; main(['--store', '.']); print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    assert not {"torch", "hydra", "trl", "pandas"} & set(out.split())


def test_a_rule_shows_the_answer_that_it_would_choose_most_often(lab, fakes):
    assert lab("-m", "policy=bon,pessimism,best_of_poisson,soft_bon,mbr_bon").code == 0
    runs = records.runs("adhoc")
    assert len(runs) == 5
    for run in runs:
        last = answers(run, prompts=1)["question 0?"][-1]
        assert last.when.startswith("n 2") and last.text == "answer 1 seed 0", run.choices
        assert course(run).points.tolist() == [1, 2], run.choices


def test_the_newest_are_listed_and_older_ones_on_demand(lab, fakes, monkeypatch, capsys):
    from analysis.commands import runs

    monkeypatch.setattr(runs, "NEWEST", 1)
    assert lab("-m", "policy=bon,pessimism").code == 0
    capsys.readouterr()
    assert runs.main([]) == 0
    out = capsys.readouterr().out
    assert "1 older runs: rlhf-runs --all" in out and ("bon" in out) != ("pessimism" in out)
    assert runs.main(["--all"]) == 0
    out = capsys.readouterr().out
    assert "older" not in out and "bon" in out and "pessimism" in out


def rows_without(name):
    return lambda record: {
        **record,
        "jobs": [{k: v for k, v in job.items() if k != name} for job in record["jobs"]],
    }


BAD_RECORDS = {
    "list": lambda record: [],
    "null": lambda record: None,
    "empty": lambda record: {},
    "no jobs": lambda record: {**record, "jobs": None},
    "jobs that are numbers": lambda record: {**record, "jobs": [1]},
} | {f"no {name}": rows_without(name) for name in sweep_records.ROW}


@pytest.fixture
def one_good(lab, fakes):
    """A good sweep `adhoc` of one run, and the path of a second record, of the sweep `other`."""
    assert lab("policy=bon").code == 0
    good = next(records.store_root().glob("sweeps/adhoc/*.json"))
    other = good.parents[1] / "other" / good.name
    other.parent.mkdir()
    return json.loads(good.read_text()), other


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_a_damaged_record_is_a_line_and_every_good_run_is_shown(case, one_good, capsys):
    record, other = one_good
    other.write_text(json.dumps(BAD_RECORDS[case](record)))
    key = record["jobs"][0]["key"]
    for command in (["list"], ["show", key], ["reward-models"]):
        assert main(command) == 0
        told = capsys.readouterr()
        assert told.err.count("\n") == 1 and f"sweep record other/{other.name}" in told.err
        assert command == ["reward-models"] or key[:8] in told.out
    assert main(["verify"]) == 1 and f"other/{other.name}" in capsys.readouterr().out
    assert main(["list", "--sweep", "other"]) == 2 and capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["sweep", "command"])
def test_what_the_name_of_the_folder_says_is_not_needed_in_a_record(name, one_good, capsys):
    record, other = one_good
    other.write_text(json.dumps({k: v for k, v in record.items() if k != name}))
    assert main(["list", "--sweep", "other"]) == 0 and "other" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "{", "[]", "5", '"x"', '{"seconds": "long"}', '{"state": ["made"]}'])
def test_a_status_that_was_cut_harms_neither_the_list_nor_the_same_command(text, lab, fakes, capsys):
    assert lab("policy=bon").code == 0
    (run,) = records.runs("adhoc")
    (run.folder / "status.json").write_text(text)
    assert main([]) == 0 and run.key[:8] in capsys.readouterr().out
    assert lab("policy=bon").code == 0


def test_a_run_without_a_curve_is_a_line(lab, fakes, capsys, monkeypatch):
    assert lab("-m", "policy=bon,ppo").code == 0
    few = "2 answers a prompt are too few for a best-of-n curve"

    def too_few(*arguments, **options):
        raise ValueError(few)

    monkeypatch.setattr("analysis.runs.run_summary.selection_curves", too_few)
    monkeypatch.setattr("analysis.runs.run_summary.curves_of", too_few)
    assert main([]) == 0
    out = capsys.readouterr().out
    assert few in out and "damaged" not in out and all(run.key[:8] in out for run in records.runs("adhoc"))
    key = next(run.key for run in records.runs("adhoc") if run.method == "BestOfN")
    assert main(["show", key]) == 0
    out = capsys.readouterr().out
    assert few in out and "git commit" in out


def test_a_run_whose_process_has_ended_is_stopped(lab, fakes):
    assert lab("policy=bon").code == 0
    (run,) = records.runs("adhoc")
    (run.root / "run" / run.key / "manifest.json").unlink()
    path = run.folder / "status.json"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    status = {"state": "running", "host": socket.gethostname(), "started": time.time()}
    for pid, host, state in (
        (os.getpid(), status["host"], "running"),
        (dead.pid, status["host"], "stopped"),
        (dead.pid, "another-machine", "running"),
        ("12", status["host"], "running"),
        (10**20, status["host"], "stopped"),
    ):
        path.write_text(json.dumps(status | {"pid": pid, "host": host}))
        assert records.runs("adhoc")[0].status == state, (pid, host)
    path.write_text(json.dumps(status | {"pid": os.getpid(), "started": 0}))
    assert records.runs("adhoc")[0].status == "stopped", "the number of the process went to another one"


def test_the_list_is_printed_where_the_terminal_knows_ascii_only(lab, fakes, tmp_path):
    assert lab("policy=bon").code == 0
    command = [sys.executable, "-m", "analysis.commands.runs", "--store", str(tmp_path / "store")]
    for words in ([], ["reward-models"]):
        done = subprocess.run(
            [*command, *words], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
        )
        assert done.returncode == 0, done.stderr
