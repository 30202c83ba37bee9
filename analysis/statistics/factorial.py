"""Effects in balanced two-level factorial designs.

A design has S cells of F factors; its signs (S, F) are -1 at a factor's first level and 1 at its second. Each
cell has a run in each of R replicates, and every run is measured on the same C questions.

An effect is the mean of the runs at the second level minus that at the first: least squares with replicates as
blocks, as columns are orthogonal. Its error is the spread of runs within cells with the replicates' own levels
taken off, since every run has a reward model of its own. The SE over questions of the same difference, question
by question, is added to it squared, since all runs share the questions.

In a design of resolution IV main effects are clear of each other and of every product of two factors. Such
products share columns, so what is said of one is said of all in its alias set.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

from rlhf_lab.functional.intervals import Estimate, Part, mean_and_se

Floats = NDArray[np.float64]
Signs = NDArray[np.int64]
Pair = tuple[int, int]  # places of two factors


class Agreement(NamedTuple):
    """Whether effects differ between replicates by more than runs do."""

    ratio: float  # F
    p: float


def effects(values: Floats, columns: Signs, main: Signs) -> list[Estimate]:
    """Return the effect of each of `columns` (S, E) on values (S, R, C): what its second level adds.

    The first part of its variance is over runs, the second over questions.

    `main` (S, F) are the signs of the factors, which say what is error where nothing is replicated (`error`).
    """
    runs = values.mean(axis=2)
    variance, df = error(runs, main)
    by_question = _contrasts(values.mean(axis=1), columns)  # (E, C)
    of_runs, questions = Part(4 * variance / runs.size, df), by_question.shape[1]
    return [
        Estimate(float(value), (of_runs, Part(float(se**2), questions - 1.0)), runs.shape[1])
        for value, se in zip(*mean_and_se(by_question.T), strict=True)
    ]


def _contrasts(cells: Floats, columns: Signs) -> Floats:
    """Return the mean at 1 minus the mean at -1 of each of `columns` (S, E), of cells (S, ...): (E, ...)."""
    return np.tensordot(columns, cells, axes=(0, 0)) * 2 / len(cells)


def error(runs: Floats, main: Signs) -> tuple[float, float]:
    """Return the variance of a run and its degrees of freedom, from runs (S, R).

    It is the spread within cells with the replicates taken off. Of one replicate it is what main effects leave
    of the cells, where interactions count as error and make it too large; NaN where they leave nothing.
    """
    cells, replicates = runs.shape
    if replicates > 1:
        df = (cells - 1) * (replicates - 1)
        return float((_within(runs) ** 2).sum() / df), float(df)
    df = cells - 1 - main.shape[1]
    left = runs[:, 0] - runs.mean() - main @ _contrasts(runs[:, 0], main) / 2
    return (float((left**2).sum() / df), float(df)) if df else (np.nan, np.nan)


def _within(runs: Floats) -> Floats:
    """Return runs (S, R) less their cell's and their replicate's mean."""
    return runs - runs.mean(axis=1, keepdims=True) - runs.mean(axis=0) + runs.mean()


def agreement(values: Floats, main: Signs) -> Agreement:
    """Return F of the main effects' spread over replicates against that of the other contrasts; NaN of one
    replicate.

    Runs of one replicate share seeds, and some of them the comparisons: if that mattered, the error of a main
    effect would be larger than that of a run.
    """
    runs = values.mean(axis=2)
    cells, replicates = runs.shape
    others = cells - 1 - main.shape[1]
    if replicates < 2 or not others:
        return Agreement(np.nan, np.nan)
    left = _within(runs)
    of_main = ((main.T @ left) ** 2).sum() / cells
    df = (main.shape[1] * (replicates - 1), others * (replicates - 1))
    ratio = (of_main / df[0]) / (((left**2).sum() - of_main) / df[1])
    return Agreement(float(ratio), float(fdtrc(*df, ratio)))


# --- the design itself --------------------------------------------------------------------------------------


def check(design: Signs, names: Sequence[str]) -> None:
    """Raise ValueError unless every factor of a design (S, F) is balanced and orthogonal to every other."""
    count = len(design)
    for place, name in enumerate(names):
        if design[:, place].sum():
            raise ValueError(
                f"{name} has its two levels in {(design[:, place] < 0).sum()} and {(design[:, place] > 0).sum()} of "
                f"{count} cells; a balanced design has each in half of them"
            )
    for first, second in combinations(range(len(names)), 2):
        if overlap := int(design[:, first] @ design[:, second]):
            raise ValueError(
                f"{names[first]} and {names[second]} are at like levels in {(count + overlap) // 2} of {count} cells; "
                "in an orthogonal design in half of them"
            )


def alias_sets(design: Signs) -> list[list[Pair]]:
    """Return the sets of pairs of factors whose products are one column up to its sign, the largest set first."""
    sets: dict[bytes, list[Pair]] = {}
    for pair in combinations(range(design.shape[1]), 2):
        column = design[:, pair].prod(axis=1)
        sets.setdefault((column * column[0]).tobytes(), []).append(pair)
    return sorted(sets.values(), key=len, reverse=True)


def confounded(design: Signs) -> list[tuple[int, Pair]]:
    """Return each main effect with a product of two other factors that is part of it; empty from resolution IV on."""
    return [
        (place, pair)
        for pair in combinations(range(design.shape[1]), 2)
        for place in range(design.shape[1])
        if place not in pair and design[:, place] @ design[:, pair].prod(axis=1)
    ]
