import contextlib
import io
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from fake_store import WORLD, Cell, Sweep, only, write_store
from matplotlib.figure import Figure

from analysis.commands.figures import main
from analysis.drawing import result
from analysis.drawing.result import FigureResult, write
from analysis.figures import available
from analysis.runs.checks import provenance
from rlhf_lab.store import records
from rlhf_lab.store.artifacts import sealed
from rlhf_lab.store.records import read_table, write_table

SMALL = Sweep(questions=40, answers=32, checkpoints=10)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    write_store(root, SMALL)
    return root


@pytest.fixture(scope="module")
def drawn(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the figure, and what the command printed."""
    out = tmp_path_factory.mktemp("figures")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["quickstart", "--store", str(store), "--out", str(out)]) == 0
    return out, printed.getvalue()


def test_writes_the_five_files(drawn: tuple[Path, str]) -> None:
    out, _ = drawn
    names = {"png", "pdf", "csv", "fits.csv", "claims.json"}
    assert {path.name for path in out.iterdir()} == {f"quickstart.{name}" for name in names}
    assert (out / "quickstart.png").read_bytes()[:4] == b"\x89PNG"
    assert (out / "quickstart.pdf").stat().st_size > 5000
    table, fits = pd.read_csv(out / "quickstart.csv"), pd.read_csv(out / "quickstart.fits.csv")
    assert (table["figure"] == "quickstart").all() and set(table["method"]) == {"bon", "ppo"}
    assert {"parameter", "estimate", "lo", "hi", "n", "replicates", "form", "rmse"} <= set(fits)


def test_prints_every_claim_as_it_came_out(drawn: tuple[Path, str]) -> None:
    out, printed = drawn
    claims = json.loads((out / "quickstart.claims.json").read_text())
    states = [claim["met"] for claim in claims if not claim["by_construction"]]
    assert set(states) == {True, False, None}
    for kind, primary in (("primary", True), ("exploratory", False)):
        states = [c["met"] for c in claims if not c["by_construction"] and c["primary"] is primary]
        met, not_met, undecided = (states.count(state) for state in (True, False, None))
        assert f"{len(states)} {kind}: {met} met, {not_met} not met, {undecided} undecided" in printed
    assert "3 more hold by construction" in printed and "quickstart.claims.json" in printed


def test_claims_in_full(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quickstart", "--claims", "--store", str(store), "--out", str(tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "threshold 0.1; n = " in out and "the whole interval lies above 0.1" in out
    assert out.index("(primary)") < out.index("(exploratory)") < out.index("(by construction)")
    claims = json.loads((tmp_path / "quickstart.claims.json").read_text())
    assert all(f"{claim['measured']:.3g} [" in out for claim in claims if claim["measured"] is not None)


def test_the_numbers_are_the_same_again(store: Path, drawn: tuple[Path, str], tmp_path: Path) -> None:
    assert main(["quickstart", "--store", str(store), "--out", str(tmp_path)]) == 0
    for name in ("quickstart.csv", "quickstart.fits.csv", "quickstart.claims.json"):
        assert (tmp_path / name).read_bytes() == (drawn[0] / name).read_bytes()


def test_a_figure_of_another_sweep(store: Path, tmp_path: Path) -> None:
    assert main(["gao2022_fig1", "--sweep", "quickstart", "--store", str(store), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "gao2022_fig1.png").is_file()


def test_by_default_what_has_been_run(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--store", str(store), "--out", str(tmp_path)]) == 0
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {"quickstart"}
    assert "hh_harmless" in capsys.readouterr().err


def test_gold_without_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_store(
        tmp_path,
        Sweep(name="hh_harmless", parts=False, few_pairs=False, questions=40, answers=32, framings=1),
    )
    assert main(["hh_harmless", "--store", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    claims = json.loads((tmp_path / "out" / "hh_harmless.claims.json").read_text())
    topics = {claim["topic"] for claim in claims}
    assert any("gold of finished answers" in claim["claim"] for claim in claims)
    assert "content turns" not in topics and "well-formed turns" in topics
    assert "content" not in pd.read_csv(tmp_path / "out" / "hh_harmless.csv")
    words = "(n = 400, chance .5): gold 0.600 [0.561, 0.639]; length alone 0.550 [0.491, 0.609]"
    assert words in capsys.readouterr().out and not any("people" in claim["claim"] for claim in claims)
    fits = pd.read_csv(tmp_path / "out" / "hh_harmless.fits.csv").set_index("method")
    assert fits.loc["gold", ["parameter", "estimate", "n"]].tolist() == ["share", 0.6, 400]


def test_the_figure_of_real_data_on_a_rubric_s_runs(store: Path, tmp_path: Path) -> None:
    assert main(["hh_harmless", "--sweep", "quickstart", "--store", str(store), "--out", str(tmp_path)]) == 0


def test_missing_runs_are_named_with_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_store(tmp_path, SMALL, unmade=frozenset({1}))
    assert main(["quickstart", "--store", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    error = capsys.readouterr().err
    assert "without 1 of 11 runs" in error and "policy=bon rm=3k rm.seed=1" in error
    assert "rlhf-lab experiment=quickstart" in error


def test_nothing_made_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_store(tmp_path, SMALL, unmade=frozenset(range(11)))
    assert main(["quickstart", "--store", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert (
        "best-of-n and PPO" in error
        and "rlhf-lab experiment=quickstart" in error
        and not (tmp_path / "out").exists()
    )


def test_never_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["quickstart"], []):
        assert main([*arguments, "--store", str(tmp_path)]) == 2
        assert "rlhf-lab experiment=quickstart" in capsys.readouterr().err


def test_a_sweep_that_no_figure_reads(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--sweep", "mine", "--store", str(store)]) == 2
    assert "name one" in capsys.readouterr().err


def test_help_is_quick_and_lists_every_figure() -> None:
    start = time.perf_counter()
    command = "import sys; from analysis.commands.figures import main; sys.argv[0]='x'; main(['--help'])"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", command], capture_output=True, text=True)
    assert time.perf_counter() - start < 5  # a loaded machine; what counts is what is not imported:
    assert not any(name in done.stderr for name in ("numpy", "pandas", "matplotlib", "pyarrow"))
    assert done.returncode == 0 and all(name in done.stdout for name in available())
    assert {"gao2022_fig1", "quickstart", "hh_harmless"} <= set(available())


def test_figures_of_other_packages(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "visitors.py").write_text(
        "from analysis.figures.gao2022_fig1 import make\nNAME = 'visitors'\nSWEEPS = ('quickstart',)\n"
    )
    folder = tmp_path / "visitors-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: visitors\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[rlhf_lab.figures]\nvisitors = visitors\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "visitors" in available()
    assert main(["visitors", "--store", str(store), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "visitors.csv").is_file()


def test_records_without_a_score_say_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_store(tmp_path, replace(SMALL, few_pairs=False, control=False, replicates=1, proxy="judge"))
    assert main(["quickstart", "--store", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "has no column 'proxy'" in capsys.readouterr().err


def test_a_damaged_table_is_named_with_the_command_and_never_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_store(tmp_path, replace(SMALL, few_pairs=False, control=False, replicates=1, ppo_replicates=1))
    table = next(tmp_path.glob("score/*p/scores.parquet"))
    write_table(table, {"proxy": read_table(table)["proxy"].to_numpy() + 1})
    assert main(["quickstart", "--store", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"score/{table.parent.name} has " in error
    assert "in scores.parquet; make it again: rlhf-lab experiment=quickstart" in error
    assert not (tmp_path / "out").exists()


NEWER = {"packages": {"torch": "2.13.0", "trl": "1.16.1"}, "source": WORLD["source"]}


def test_runs_made_under_other_packages_are_drawn_and_nothing_is_claimed(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quickstart", "--store", str(store), "--out", str(tmp_path / "out")]) == 0
    mixed, (*_, last) = tmp_path / "mixed", sorted(store.glob("run/*"))
    write_store(mixed, SMALL, provenances={10: NEWER})
    capsys.readouterr()
    assert main(["quickstart", "--store", str(mixed), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "met" not in said.out
    assert f"trl 1.16.1 (run {last.name[:8]})" in said.err and "nothing is claimed" in said.err
    assert "torch" not in said.err and "trl 1.16.0 (10 runs: " in said.err
    names = {path.name.partition(".")[2] for path in (tmp_path / "out").iterdir()}
    assert names == {"png", "pdf", "csv", "fits.csv"}, "the claims of before are gone"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"packages": {"torch": "2.13.0", "trl": "1.16.1"}}, "trl 1.16.1 (run "),
        ({"packages": {"torch": "2.13.0"}}, None),  # of trl nothing is known, so nothing is said
        ({"source": "2" * 20}, None),  # one VERSION: results are said to be the same
    ],
)
def test_what_makes_runs_unlike(tmp_path: Path, changes: dict, words: str | None) -> None:
    write_store(tmp_path, replace(SMALL, few_pairs=False), provenances={0: WORLD | changes})
    found = provenance(records.runs("quickstart", tmp_path)).differences
    assert words in found if words else not found


def test_a_change_of_source_under_one_version_is_told_and_claims_stand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_store(tmp_path, SMALL, provenances={0: WORLD | {"source": "2" * 20}})
    assert main(["quickstart", "--store", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    error = capsys.readouterr().err
    stages = sorted({path.parent.parent.name for path in tmp_path.glob("*/*/manifest.json")} - {"run"})
    assert error.count("\n") == 1 and "not from one state of the source code" in error
    assert set(error.split(": ")[1].split(", ")) <= {*stages, "bon", "ppo"}
    assert (tmp_path / "out" / "quickstart.claims.json").is_file()


def test_a_stage_is_compared_with_itself_in_other_runs(tmp_path: Path) -> None:
    """Gold scored again, later and by a newer VERSION, in all runs: nothing is wrong with that."""
    write_store(tmp_path, replace(SMALL, few_pairs=False))
    runs = records.runs("quickstart", tmp_path)
    scored = sorted(tmp_path.glob("score/*g/manifest.json"))
    for number, manifest in enumerate(scored):
        newer = json.loads(manifest.read_text()) | {"version": 2, "provenance": NEWER}
        manifest.write_text(json.dumps(sealed(newer)))
        assert (not provenance(runs).differences) == (number == len(scored) - 1)
    manifest.write_text(json.dumps(sealed(newer | {"version": 3})))
    assert (
        provenance(runs).differences
        == f"score by VERSION 2 (8 runs: {_first_keys(runs)}, ...) and VERSION 3 (run {runs[-1].key[:8]})"
    )


def _first_keys(runs: list[records.Run]) -> str:
    return ", ".join(run.key[:8] for run in runs[:3])


# --- chosen runs ------------------------------------------------------------------------------------------------


def test_a_figure_of_chosen_runs_of_two_sweeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("first", "second"):
        write_store(
            tmp_path, only(Cell("ppo", {"lr": 1.0 if name == "first" else 2.0}), name=name, questions=8)
        )
    keys = [run.key for name in ("first", "second") for run in records.runs(name, tmp_path)]
    where = ["--store", str(tmp_path), "--out", str(tmp_path)]
    assert main(["gao2022_fig1", "--runs", ",".join([*(key[:12] for key in keys), keys[0]]), *where]) == 0
    by_runs = pd.read_csv(tmp_path / "gao2022_fig1.csv")
    assert set(by_runs["label"]) == {"3k, lr 1", "3k, lr 2"} and set(by_runs["replicates"]) == {2}
    assert main(["gao2022_fig1", "--sweep", "first,second", *where]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "gao2022_fig1.csv"), by_runs)
    capsys.readouterr()
    for words, line in (
        (["gao2022_fig1", "--runs", "nosuch"], "'nosuch' is not a run; rlhf-runs --all lists them"),
        (["gao2022_fig1", "--runs", keys[0][:2]], "is the start of several runs"),
        (["--runs", keys[0]], "needs the name of a figure"),
        (["gao2022_fig1", "--runs", keys[0], "--sweep", "first"], "takes the place of --sweep"),
        (["kwa2024_figB3", "--runs", keys[0]], "it reads no runs"),
    ):
        assert main([*words, *where]) == 2
        printed = capsys.readouterr()
        assert line in printed.err and printed.err.count("\n") == 1 and not printed.out


def test_a_drawing_that_ends_half_way_leaves_the_earlier_files_as_they_were(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["quickstart", "--store", str(store), "--out", str(tmp_path)]
    assert main(words) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def stopped(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_csv", stopped)
    with pytest.raises(KeyboardInterrupt):
        main(words)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_claims_are_removed_before_and_renamed_after_all_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = FigureResult(pd.DataFrame({"a": [1]}), pd.DataFrame(), [], Figure())
    write(figure, "one", tmp_path)
    seen: list[bool] = []
    replace_file = result.os.replace

    def replaced(source: Path, target: Path) -> None:
        seen.append((tmp_path / "one.claims.json").exists())
        replace_file(source, target)

    monkeypatch.setattr(result.os, "replace", replaced)
    assert [path.name for path in write(figure, "one", tmp_path)][-1] == "one.claims.json"
    assert seen == [False] * 5 and len(list(tmp_path.iterdir())) == 5


def test_a_figure_of_runs_that_do_not_suit_it_names_its_own(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gao2022_fig7", "--sweep", "quickstart", "--store", str(store), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert (
        error.count("\n") == 1 and "; ;" not in error and error.endswith("rlhf-lab experiment=gao2022_fig7\n")
    )
