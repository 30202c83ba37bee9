"""Controls are curves of every figure of gold over KL whose runs hold them, and no arm of its comparisons."""

from pathlib import Path
from types import ModuleType

import pytest
from fake_store import Cell, only, write_store

from analysis.drawing import controls
from analysis.figures import gao2022_fig9, par2025, rafailov2024_fig1
from rlhf_lab.store.records import runs

CONTROLS = (
    Cell("ppo", {"kl_coef": 0.0}, 2, reward="gold", uses_gold=True),
    Cell("ppo", {"kl_coef": 0.0}, 2, reward="noise"),
    Cell("weight_noise", {}, 2),
    Cell("temperature", {}, 2),
)
FIGURES = {
    gao2022_fig9: tuple(Cell("ppo", {"kl_coef": coefficient}, 2) for coefficient in (0.0, 0.1)),
    par2025: tuple(Cell("ppo", {"kl_coef": 0.0}, 2, shaping=one) for one in ("none", "par")),
    rafailov2024_fig1: tuple(Cell("dpo", {"beta": beta}, 2) for beta in (0.02, 0.1, 0.4)),
}


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.NAME)
def test_controls_are_drawn_and_not_compared(figure: ModuleType, tmp_path: Path) -> None:
    write_store(tmp_path / "without", only(*FIGURES[figure], name="mine", questions=16))
    write_store(tmp_path / "with", only(*FIGURES[figure], *CONTROLS, name="mine", questions=16))
    plain, drawn = (figure.make(runs("mine", tmp_path / store)) for store in ("without", "with"))
    labels = {text.get_text() for text in drawn.figure.legends[0].get_texts()}
    trained = [name for kind, (name, *_) in controls.LOOKS.items() if kind in ("oracle", "noise")]
    untrained = [
        name for kind, (name, *_) in controls.LOOKS.items() if kind in ("weight_noise", "temperature")
    ]
    assert labels >= {*untrained, *(trained if figure is not rafailov2024_fig1 else ())}
    assert [claim.subject for claim in drawn.claims] == [claim.subject for claim in plain.claims]
    lines = [len(result.figure.axes[0].lines) for result in (plain, drawn)]
    assert lines[1] >= lines[0] + len(CONTROLS) - (2 if figure is rafailov2024_fig1 else 0)
