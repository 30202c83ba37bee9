"""The design of what_matters, and designs found in runs' configs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_store import Cell, only, write_store
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict
from what_matters_design import METHODS, cells, fraction

from analysis.runs.designs import designs
from analysis.statistics.factorial import alias_sets, check, confounded
from rlhf_lab.commands import compose as sources
from rlhf_lab.commands import sweeper
from rlhf_lab.commands.options import folder
from rlhf_lab.store.records import MissingRuns, Run, classes_of, runs

EIGHT = fraction(8)


def test_the_sweep_is_the_design() -> None:
    sweeper = OmegaConf.load(folder("sweeps") / "what_matters.yaml").hydra.sweeper
    assert list(sweeper.cells) == cells("bon") + cells("ppo")
    assert dict(sweeper.params) == {"replicate": "r110,r111,r112"}


def test_both_methods_have_the_same_reward_models() -> None:
    def settings(method: str) -> list[str]:
        return [cell.partition(" rm=")[2].partition(" policy.kl_coef")[0] for cell in cells(method)]

    assert settings("bon") == settings("ppo") and len(set(settings("bon"))) == 16
    assert "policy.kl_coef=0.1" in cells("ppo")[1] and "kl_coef" not in "".join(cells("bon"))


def test_it_is_orthogonal_and_of_resolution_four() -> None:
    assert np.array_equal(EIGHT.T @ EIGHT, 16 * np.eye(8)) and (EIGHT[0] == -1).all()
    assert len({tuple(row) for row in EIGHT}) == 16
    assert confounded(EIGHT) == [] and confounded(fraction(7)) == []
    words = [
        EIGHT[:, columns].prod(axis=1) for columns in ([4, 1, 2, 3], [5, 0, 2, 3], [6, 0, 1, 2], [7, 0, 1, 3])
    ]
    assert all((word == 1).all() for word in words)  # E = BCD, F = ACD, G = ABC, H = ABD


def test_products_of_two_lie_in_seven_sets() -> None:
    assert [len(pairs) for pairs in alias_sets(EIGHT)] == [4] * 7
    assert [len(pairs) for pairs in alias_sets(fraction(7))] == [3] * 7
    assert [(0, 1), (2, 6), (3, 7), (4, 5)] in alias_sets(EIGHT)


def test_resolution_three_is_seen() -> None:
    half = np.array([[-1, -1, 1], [1, -1, -1], [-1, 1, -1], [1, 1, 1]])
    assert (0, (1, 2)) in confounded(half)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [[-1, -1], [-1, 1], [1, 1]],
            "a has its two levels in 2 and 1 of 3 cells; a balanced design has each in half",
        ),
        (
            [[-1, -1], [-1, -1], [-1, -1], [-1, 1], [1, -1], [1, 1], [1, 1], [1, 1]],
            "a and b are at like levels in 6 of 8 cells; in an orthogonal design in half of them",
        ),
    ],
)
def test_what_is_no_design_is_refused(rows: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(np.array(rows), ["a", "b"])


def test_what_the_sweep_composes_reads_back_as_the_design() -> None:
    (design,) = designs(composed("ppo"))
    names, knobs = [factor.name for factor in design.factors], METHODS["ppo"][1]
    assert np.array_equal(design.signs[:, [names.index(knob.name) for knob in knobs]], EIGHT)
    assert {factor.words for factor in design.factors} == {
        "reward model: 3k to 25k",
        "comparisons: 1,000 to 4,000",
        "label noise: clean labels to 25 % flipped",
        "combination: single to mean of 3",
        "initialisation: lm to scratch",
        "centring: 0 to 0.01",
        "answers to a prompt: 2 to 4",
        "KL penalty: 0 to 0.1",
    }


def composed(method: str) -> list[Run]:
    """The runs of a method as the sweep's record has them."""
    sources.register()
    sweeper.register()
    with initialize_config_dir(str(folder("conf")), version_base="1.3"):
        return [_composed(method, number, cell) for number, cell in enumerate(cells(method))]


def _composed(method: str, number: int, cell: str) -> Run:
    composed_config = compose("config", overrides=["replicate=r0", *cell.split()], return_hydra_config=True)
    choices = dict(composed_config.hydra.runtime.choices)
    with open_dict(composed_config):
        del composed_config.hydra
    config: Any = OmegaConf.to_container(composed_config, enum_to_str=True)
    classes = classes_of(choices, config)
    return Run(
        f"{method}{number}", "what_matters", choices, (), config, "made", Path(), method, False, classes
    )


# --- found in runs ------------------------------------------------------------------------------------------


def write_runs(root: Path, *cells: Cell, unmade: frozenset[int] = frozenset()) -> list[Run]:
    sweep = only(*cells, name="mine", questions=8)
    write_store(root, replace(sweep, answers=8, checkpoints=3), unmade)
    return runs("mine", root)


TWO_BY_TWO = [Cell("bon", rm=rm, rate=rate) for rm in ("3k", "25k") for rate in (None, 0.25)]


def test_settings_that_vary_together_are_one_factor(tmp_path: Path) -> None:
    (design,) = designs(write_runs(tmp_path, *TWO_BY_TWO))
    assert [factor.words for factor in design.factors] == [
        "reward model: 3k to 25k",
        "label noise: clean labels to 25 % flipped",
    ]
    assert design.signs.tolist() == [[-1, -1], [-1, 1], [1, -1], [1, 1]] and len(design.runs[0]) == 2


def test_knobs_turned_together_are_named_together(tmp_path: Path) -> None:
    (design,) = designs(write_runs(tmp_path, Cell("bon"), Cell("bon", rm="25k", rate=0.25)))
    assert design.factors[0].name == "rm and labeler"


def test_replicates_without_all_cells_are_left_out(tmp_path: Path) -> None:
    (design,) = designs(write_runs(tmp_path / "some", *TWO_BY_TWO, unmade=frozenset({0})))
    assert design.left_out == 1 and [run.config["rm"]["seed"] for run in design.runs[3]] == [1]
    with pytest.raises(MissingRuns, match="no replicate of best-of-n has all 4 cells made"):
        designs(write_runs(tmp_path / "none", *TWO_BY_TWO, unmade=frozenset({0, 1})))


def test_a_method_in_which_nothing_varies_has_no_design(tmp_path: Path) -> None:
    varying = designs(
        write_runs(
            tmp_path / "a",
            Cell("bon"),
            *(Cell("ppo", {"kl_coef": coefficient}) for coefficient in (0.0, 0.1)),
        )
    )
    assert [design.method for design in varying] == ["ppo"]
    assert varying[0].factors[0].words == "KL penalty: 0 to 0.1"
    with pytest.raises(ValueError, match="nothing but seeds varies"):
        designs(write_runs(tmp_path / "b", Cell("bon")))


@pytest.mark.parametrize(
    ("sweep_cells", "message"),
    [
        ([Cell("bon", rm=rm) for rm in ("1k", "3k", "25k")], r"best-of-n: rm takes 3 values \(1k, 3k, 25k\)"),
        (TWO_BY_TWO[:3], "best-of-n: rm has its two levels in 2 and 1 of 3 cells"),
    ],
)
def test_other_sweeps_are_refused_in_one_line(tmp_path: Path, sweep_cells: list[Cell], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        designs(write_runs(tmp_path, *sweep_cells))
    assert "\n" not in str(refused.value)


def test_the_generators_need_no_more_than_sixteen_cells() -> None:
    assert fraction(4).shape == (16, 4) and len(METHODS["ppo"][1]) == 8
