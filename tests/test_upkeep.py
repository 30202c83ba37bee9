"""`rlhf-runs verify` and `prune`: what is damaged, what nobody needs, and how large the store is."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from test_leases import write_lease

from analysis.commands.figures import main as draw
from analysis.commands.runs import main
from rlhf_lab.store import records, upkeep


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the first test that makes the store leaves a copy for the others."""
    return tmp_path_factory.mktemp("kept") / "store"


@pytest.fixture
def root(lab, fakes, kept):
    """A store with a sweep of two runs, one of which failed after its reward model was made."""
    if not kept.exists():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FAKE_FAIL", "ppo:1")
            assert lab("-m", "policy=ppo", "replicate=r0,r1").code == 1
        shutil.copytree(records.store_root(), kept)
        return records.store_root()
    return Path(shutil.copytree(kept, records.store_root()))


def everything(root):
    return sorted(
        path.relative_to(root).as_posix() for path in root.rglob("*") if "launcher" not in path.parts
    )


def listed(capsys):
    """Path -> reason, of what prune prints."""
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith(")")]
    return {line.split()[2]: line.partition("  (")[2][:-1] for line in lines}


def test_the_list_ends_with_the_size_of_the_store(root, capsys):
    assert main([]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert last == f"{root}: {size / 1000:.0f} kB in {len(upkeep.artifacts(root))} artifacts"


def test_a_whole_store_verifies_and_is_used_wherever_it_lies(root, lab, tmp_path, capsys):
    assert main(["verify"]) == 0 and "everything is intact" in capsys.readouterr().out
    assert main(["prune"]) == 0 and "all of it is needed" in capsys.readouterr().out
    moved = root.rename(tmp_path / "elsewhere")
    assert main(["--store", str(moved), "verify"]) == 0
    for path in [*moved.rglob("manifest.json"), *moved.rglob("*.parquet")]:
        assert str(tmp_path).encode() not in path.read_bytes(), "no absolute path lies inside"
    times = [path.stat().st_mtime_ns for path in sorted(moved.rglob("manifest.json"))]
    assert lab("-m", "policy=ppo", "replicate=r0", f"runtime.store={moved}").code == 0
    assert [path.stat().st_mtime_ns for path in sorted(moved.rglob("manifest.json"))] == times


def test_verify_names_all_that_is_wrong(root, lab, capsys):
    (sft,) = root.glob("sft/*")
    (sft / "made_by").write_text("somebody else")
    (rm, other) = sorted(root.glob("reward_model/*"))
    (rm / "manifest.json").write_text("{")
    (other / "foreign.bin").touch()
    (root / "notes.txt").write_text("mine")
    (record,) = root.glob("sweeps/adhoc/*.json")
    record.write_text("{")
    assert main(["verify"]) == 1
    out = capsys.readouterr().out
    for line in (
        f"sft/{sft.name} has 13 bytes, where",
        f"reward_model/{rm.name} has a manifest that is not JSON",
        f"reward_model/{other.name} holds foreign.bin",
        "notes.txt is nothing that was made here",
        f"sweep record adhoc/{record.name} is not JSON",
        ": 5 damaged or foreign",
    ):
        assert line in out, line
    assert lab("policy=ppo", "runtime.plan=true").code == 0, "a plan takes no times from damaged ones"


def test_prune_shows_first_and_keeps_all_that_a_record_needs_also_of_runs_that_failed(root, lab, capsys):
    needed = everything(root)
    assert lab("policy=bon", "rm=25k").code == 0
    (newest,) = sorted(root.glob("sweeps/adhoc/*.json"))[1:]
    newest.unlink()
    capsys.readouterr()
    before = everything(root)
    assert main(["prune"]) == 0 and everything(root) == before, "nothing goes unasked"
    shown = listed(capsys)
    assert {name.partition("/")[0] for name in shown} == {
        "sft_answers",
        "score",
        "run",
        "runs",
        "reward_model",
    }
    assert main(["prune", "--yes"]) == 0
    assert [name for name in everything(root) if "/" in name] == [name for name in needed if "/" in name]
    assert main(["prune"]) == 0 and "all of it is needed" in capsys.readouterr().out


def test_prune_newest_drops_what_older_records_of_a_sweep_needed(root, lab, capsys):
    assert lab("policy=bon").code == 0
    rows = records.runs("adhoc")[0].rows()
    assert main(["prune", "--newest", "--yes"]) == 0
    assert "replaced by a newer record of its sweep" in capsys.readouterr().out
    assert len(list(root.glob("sweeps/*/*.json"))) == 1 and not list(root.glob("ppo/*"))
    assert records.runs("adhoc")[0].rows().equals(rows), "a figure finds all that it needs"


def test_prune_newest_waits_until_nothing_runs(root, capsys):
    write_lease(root / "locks" / f"ppo-{'1' * 20}.lease")
    before = everything(root)
    assert main(["prune", "--newest", "--yes"]) == 2 and everything(root) == before
    assert f"process {os.getpid()} on here is making ppo-111" in capsys.readouterr().err


def test_the_newest_record_is_the_last_one_written_also_after_a_clock_that_was_ahead(root, lab, capsys):
    (record,) = root.glob("sweeps/adhoc/*.json")
    record.rename(record.with_name("2126-06-01T00-00-00-000000Z.json"))
    assert lab("policy=bon").code == 0
    assert [run.choices["policy"] for run in records.runs("adhoc")] == ["bon"]
    before = everything(root)
    assert main(["prune", "--newest", "--yes"]) == 2 and everything(root) == before
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "2126-06-01T00-00-00-000000Z.json is dated in the future" in error


@pytest.mark.parametrize(
    "name", [".2026-09-01T00-00-00-000000Z.json.swp", "._a.json", "zzz.json", "notes.txt"]
)
def test_a_file_beside_records_is_never_the_newest_of_them(root, lab, name):
    for text in ("", "{}"):
        (root / "sweeps" / "adhoc" / name).write_text(text)
        assert len(records.runs("adhoc")) == 2
    assert records.sweep_names() == ["adhoc"]


@pytest.mark.parametrize("move", ["renamed", "moved up"])
def test_prune_keeps_what_a_record_needs_that_was_renamed(move, root, capsys):
    (record,) = root.glob("sweeps/adhoc/*.json")
    record.rename(record.with_name("mine.json") if move == "renamed" else root / "sweeps" / record.name)
    for options in ([], ["--newest"]):
        assert main(["prune", *options]) == 0 and "all of it is needed" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["file", "dangling link", "circle"])
def test_prune_removes_nothing_where_the_records_cannot_be_looked_for(place, root, tmp_path, capsys):
    sweeps = root / "sweeps"
    sweeps.rename(tmp_path / "away")
    if place == "file":
        sweeps.touch()
    else:
        sweeps.symlink_to(tmp_path / "nowhere" if place == "dangling link" else sweeps)
    before = everything(root)
    for command in (["prune", "--yes"], ["list"], ["reward-models"]):
        assert main(command) == 2 and everything(root) == before
        assert capsys.readouterr().err.count("\n") == 1
    assert draw(["quickstart", "--store", str(root)]) == 2 and capsys.readouterr().err.count("\n") == 1
    assert main(["verify"]) == 1 and str(sweeps) in capsys.readouterr().out


@pytest.mark.parametrize("place", ["file", "dangling link"])
def test_a_folder_of_records_that_cannot_be_read_is_a_line_and_hides_no_other(place, root, lab, capsys):
    other = root / "sweeps" / "other"
    other.touch() if place == "file" else other.symlink_to(root / "nowhere")
    before = everything(root)
    assert main(["prune", "--yes"]) == 2 and everything(root) == before
    assert str(other) in capsys.readouterr().err
    assert main([]) == 0
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and str(other) in told.err
    assert all(run.key[:8] in told.out for run in records.runs("adhoc"))
    assert main(["verify"]) == 1 and str(other) in capsys.readouterr().out
    assert lab("policy=ppo", "replicate=r0").code == 0


def test_prune_refuses_while_a_record_cannot_be_read(root, capsys):
    before = everything(root)
    (record,) = root.glob("sweeps/adhoc/*.json")
    for text in ("{", "[]", '{"jobs": [{"key": "a"}]}'):
        record.write_text(text)
        assert main(["prune", "--yes"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and f"sweep record adhoc/{record.name} cannot be read" in error
    assert everything(root) == before


def test_leftovers_of_the_dead_go_and_work_under_way_stays(root, capsys):
    jobs = json.loads(next(root.glob("sweeps/adhoc/*.json")).read_text())["jobs"]
    ppo = next(
        key
        for job in jobs
        for stage, key in job["stages"]
        if stage == "ppo" and not (root / "ppo" / key).exists()
    )
    (sft,) = (path.name for path in root.glob("sft/*"))
    nobody, building = "0" * 20, "1" * 20
    for kind in ("scratch", "checkpoints"):
        for name in (
            f"ppo-{ppo}-12ab",
            f"sft-{sft}-12ab",
            f"ppo-{nobody}-12ab",
            f"ppo-{building}-12ab",
            "odd",
        ):
            (root / kind / name).mkdir(parents=True)
            (root / kind / name / "half").write_text("12345")
    write_lease(root / "locks" / f"ppo-{building}.lease")
    write_lease(root / "locks" / f"ppo-{nobody}.lease", age=40)
    (root / "locks" / ".sft.lease.12ab34cd").touch()
    os.utime(root / "locks" / ".sft.lease.12ab34cd", (time.time() - 60,) * 2)
    assert main(["prune"]) == 0
    dead, unknown = "left by a worker that died", "left by an unknown process"
    assert listed(capsys) == {
        f"scratch/ppo-{ppo}-12ab": dead,
        f"scratch/sft-{sft}-12ab": dead,
        f"scratch/ppo-{nobody}-12ab": dead,
        "scratch/odd": unknown,
        f"checkpoints/sft-{sft}-12ab": dead,
        f"checkpoints/ppo-{nobody}-12ab": dead,
        "checkpoints/odd": unknown,
        f"locks/ppo-{nobody}.lease": "it gave no sign of life for 40 s",
        "locks/.sft.lease.12ab34cd": "it gave no sign of life for 60 s",
    }
    assert main(["prune", "--yes"]) == 0
    assert [path.name for path in (root / "scratch").iterdir()] == [f"ppo-{building}-12ab"]
    kept = {path.name for path in (root / "checkpoints").iterdir()}
    assert kept == {f"ppo-{ppo}-12ab", f"ppo-{building}-12ab"}, "a killed run goes on from its checkpoint"
    assert [path.name for path in (root / "locks").iterdir()] == [f"ppo-{building}.lease"]


def test_prune_touches_neither_what_is_linked_nor_what_is_not_ours(root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (root / "ppo" / ("2" * 20)).symlink_to(outside)
    (root / "linked").symlink_to(outside)
    (root / "notes" / "mine").mkdir(parents=True)
    assert main(["prune", "--yes"]) == 0
    assert (
        (outside / "precious").exists()
        and (root / "notes" / "mine").exists()
        and Path(root / "linked").exists()
    )
