"""Summary of one run: the course of gold, proxy and KL, and answers to the same prompts on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.best_of_n.answer_table import in_order
from analysis.best_of_n.curves import EXACT, Curves, checkpoint_curves
from analysis.best_of_n.rules import whole_table
from analysis.best_of_n.selection import LIKENESS, METHODS, columns, selection_curves
from analysis.runs import run_curves
from analysis.runs.run_curves import curves_of
from rlhf_lab.store.records import Run

if TYPE_CHECKING:
    from analysis.best_of_n.hedge_tune import Tuned

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHOWN = ("prompt_id", "question_id", "checkpoint", "text", "gold", "proxy", "kl")


class Course(NamedTuple):
    """Mean gold, proxy and KL of a run at each point of its curve, `(K,)` each."""

    points: Ints  # n of a rule of selection, or optimiser steps
    gold: Floats
    proxy: Floats
    kl: Floats  # nats

    @property
    def peak(self) -> int:
        """Index of the highest gold."""
        return int(np.argmax(self.gold))


class Answer(NamedTuple):
    """One answer as it is shown."""

    when: str
    text: str
    gold: float
    proxy: float
    kl: float  # nats, of this answer


def course(run: Run) -> Course:
    """Return the run's mean gold, proxy and KL along its curve, from no more columns than that needs."""
    chooses = run.method in METHODS
    needed = ["prompt_id", "question_id", "gold", "proxy"]
    needed += columns(run.method) if chooses else ["checkpoint", "kl"]
    try:
        rows = run_curves.answers(run, needed)
    except KeyError as missing:
        raise ValueError(missing.args[0]) from None
    if chooses:
        return _course(selection_curves(rows, run.method, run.config["policy"], tilted=False))
    return _course(checkpoint_curves(rows))


def _course(curves: Curves) -> Course:
    gold, proxy = (curves.values[name].mean(axis=0) for name in ("gold", "proxy"))
    return Course(curves.points, gold, proxy, curves.kl.mean(axis=0))


def answers(run: Run, prompts: int) -> dict[str, list[Answer]]:
    """Return, by question, an answer at the start, at gold's peak and at the end, for evenly spread prompts."""
    curves = curves_of(run)
    peak, end = _course(curves).peak, len(curves.points) - 1
    names = {end: "end", peak: "gold's peak", 0: "SFT"}  # a point that is several of these has the last name
    rows = in_order(run_curves.answers(run, [*SHOWN, "finished", *columns(run.method)]))
    prompt_of_row = rows["prompt_id"].to_numpy()
    prompt_ids = np.unique(prompt_of_row)
    spread = np.linspace(0, len(prompt_ids) - 1, min(prompts, len(prompt_ids))).astype(int)
    turns, preference = questions(run), _preference(run, rows)
    shown: dict[str, list[Answer]] = {}
    for prompt in prompt_ids[spread]:
        candidates = np.flatnonzero(prompt_of_row == prompt)
        shown[turns[int(prompt)]] = [
            _answer(
                rows,
                _row(curves, rows, candidates, point, preference),
                f"{_point(curves, point)} ({names[point]})",
            )
            for point in dict.fromkeys((0, peak, end))
        ]
    return shown


def _point(curves: Curves, point: int) -> str:
    """Return a point of the curve in words."""
    if _is_tuned(curves):
        return "n 1" if point == 0 else f"strength {curves.choice.strength:.3g}"
    return f"{'step' if curves.estimator == EXACT else 'n'} {curves.points[point]}"


def _is_tuned(curves: Curves) -> TypeGuard[Tuned]:
    from analysis.best_of_n.hedge_tune import Tuned

    return isinstance(curves, Tuned)


def _preference(run: Run, rows: pa.Table) -> Floats:
    """(A,): among the answers that a rule draws, the highest is the likeliest to be chosen."""
    if run.method == LIKENESS:
        return whole_table(rows).near_others(run.config["policy"]["proximity"]).ravel()
    return rows["proxy"].to_numpy()


def _row(curves: Curves, rows: pa.Table, candidates: Ints, point: int, preference: Floats) -> int:
    """Return the row among the `candidates` of one prompt that stands for a point of the curve."""
    if curves.estimator == EXACT:
        return int(candidates[rows["checkpoint"].to_numpy()[candidates] == curves.points[point]][0])
    n = int(curves.points[point])
    if _is_tuned(curves):
        n = round(curves.n) if point else 1
    return int(candidates[int(np.argmax(preference[candidates[:n]]))])


def _answer(rows: pa.Table, row: int, when: str) -> Answer:
    text, gold, proxy, kl = (rows[name][row].as_py() for name in ("text", "gold", "proxy", "kl"))
    return Answer(when, text, gold, proxy, kl)


def questions(run: Run) -> Mapping[int, str]:
    """Return the last turn of each prompt by its id."""
    table = run.prompts()
    turns = (json.loads(messages)[-1]["content"] for messages in table["messages"].to_pylist())
    return dict(zip(table["prompt_id"].to_pylist(), turns, strict=True))
