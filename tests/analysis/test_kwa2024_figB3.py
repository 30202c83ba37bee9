"""Figure B.3 of Kwa et al.: drawn by the command without any run; what it claims, and by which rule."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.commands.figures import main
from analysis.figures import kwa2024_figB3
from analysis.figures.kwa2024_figB3 import LAST, NS, PAPERS, PER_FOLD, Pair, claims, last_step, peak_interval
from analysis.statistics.claims import thresholds
from analysis.worlds.world import Size
from rlhf_lab.functional.intervals import Estimate

NAME = kwa2024_figB3.NAME


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the figure, drawn where there is no store, on small tables."""
    out = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kwa2024_figB3, "SIZE", Size(prompts=16, questions=16, answers=64))
        assert main([NAME, "--store", str(out / "none"), "--out", str(out)]) == 0
    return out


def test_a_figure_without_a_sweep_is_drawn_without_a_store(drawn: Path) -> None:
    names = {"png", "pdf", "csv", "fits.csv", "claims.json"}
    assert {path.name for path in drawn.iterdir()} == {f"{NAME}.{name}" for name in names}
    table = pd.read_csv(drawn / f"{NAME}.csv")
    assert (
        set(table["curve"]) == {"quadrature", "estimator"} and len(table.groupby(["utility", "error"])) == 10
    )
    tried = table[table["curve"] == "estimator"]
    assert sorted(set(tried["n"])) == [4, 16, 64] and (tried["tables"] == 16).all()
    fits = pd.read_csv(drawn / f"{NAME}.fits.csv")
    assert ((fits["lo"] <= fits["estimate"]) & (fits["estimate"] <= fits["hi"])).all()


def test_what_theory_says_is_not_counted(drawn: Path) -> None:
    found = json.loads((drawn / f"{NAME}.claims.json").read_text())
    given = [claim for claim in found if claim["by_construction"]]
    assert len(given) == 10 and all(claim["met"] for claim in given)
    light = [claim for claim in given if "normal error" in claim["claim"].replace("lognormal", "")]
    assert len(light) == 2 and all(claim["measured"] > 0 for claim in light)
    assert sum(claim["measured"] < 0 for claim in given) == 8
    for claim in found:
        assert claim["n"] > 0 and claim["interval"][0] <= claim["measured"] <= claim["interval"][1]


def test_it_reads_no_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([NAME, "--sweep", "quickstart", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "reads no sweep" in error and "--sweep quickstart" in error
    assert not (tmp_path / "out").exists()


def curve(peak: float, error: str = "t3", height: float = 1.0, error_bound: float = 0.0) -> Pair:
    """A parabola in log n."""
    value = height - (np.log(NS) - np.log(peak)) ** 2
    one = Estimate.plain(0.0, 1.0, 1.0, 2)
    return Pair("normal", error, value, np.full(len(NS), error_bound), [one], 4)


def test_where_a_curve_peaks() -> None:
    step = 4 ** (1 / PER_FOLD)
    lo, hi = peak_interval(curve(300.0))
    assert 300 / step**2 < lo < 300 < hi < 300 * step**2
    lo, hi = peak_interval(curve(300.0, error_bound=0.02))  # within .2 of log n it may be as high
    assert np.log(300 / lo) == pytest.approx(0.2, abs=3 * np.log(step))
    assert np.log(hi / 300) == pytest.approx(0.2, abs=3 * np.log(step))
    assert peak_interval(curve(1e7))[1] == 4**PAPERS, "what lies beyond the paper's range is not its peak"
    assert LAST == 10


@pytest.mark.parametrize(
    ("pair", "met"),
    [
        (curve(300.0), True),
        (curve(50.0), False),
        (curve(5000.0), False),
        (curve(101.0, error_bound=0.02), None),
        (curve(10.0, "Levy", height=0.05), True),
        (curve(10.0, "Levy", height=0.5), False),
        (curve(10.0, "Levy", height=0.1, error_bound=0.01), None),
    ],
)
def test_states(pair: Pair, met: bool | None) -> None:
    sign, counted = claims([pair], thresholds(NAME))
    assert counted.met is met and not counted.by_construction
    assert sign.by_construction and sign.met is True and last_step(pair).hi < 0
