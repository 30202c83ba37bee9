"""Curves of runs that choose from stored tables: what runs of one table share is read and computed once.

A table is answers with their scores; tables of one reward model or another have the same answers, and so the same
likeness of answers to each other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.best_of_n import selection
from analysis.best_of_n.answers import in_order, same_count, starts
from analysis.best_of_n.curves import Curves
from analysis.best_of_n.likeness import like_others
from analysis.best_of_n.selection import Rule
from rlhf_lab.store.records import SAMPLED, Run

Floats = NDArray[np.float64]


def chooses(run: Run) -> bool:
    """Whether the run chooses from one table of answers of the initial policy."""
    return run.method in selection.METHODS


def chosen_curves(runs: Sequence[Run]) -> list[Curves]:
    """The curves of each of `runs`, all of which choose; threads, as most of the work is numpy's."""
    tables: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        tables.setdefault(_origin(run), []).append(place)
    alike = {_origin(run, SAMPLED): run for run in runs if run.method == selection.LIKENESS}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        likeness = dict(zip(alike, pool.map(_likeness, alike.values()), strict=True))

        def of_table(places: Sequence[int]) -> list[Curves]:
            own = [runs[place] for place in places]
            rules = [Rule(run.method, run.config["policy"]) for run in own]
            return selection.rules_curves(rows_of(own[0]), rules, likeness.get(_origin(own[0], SAMPLED)))

        found = pool.map(of_table, tables.values())
        drawn = {
            place: one
            for places, curves in zip(tables.values(), found, strict=True)
            for place, one in zip(places, curves, strict=True)
        }
    return [drawn[place] for place in range(len(runs))]


def _origin(run: Run, *inputs: str) -> str:
    """What tells apart the contents of a run's inputs, those named or all."""
    manifest = run.manifest()
    named = inputs or sorted(manifest["inputs"])
    of = [(name, manifest["inputs"][name], manifest["made_from"][name]) for name in named]
    return json.dumps([str(run.root), of])


def _likeness(run: Run) -> Floats:
    rows = in_order(run.rows(["prompt_id", "question_id", "token_ids"]))
    return like_others(rows["token_ids"], same_count(starts(rows), rows.num_rows, "the table of SFT answers"))


def rows_of(run: Run, more: Sequence[str] = ()) -> pa.Table:
    """The columns that curves need, and the parts of gold if it has parts."""
    needed = ["prompt_id", "question_id", "finished", "gold", "proxy", *more]
    try:
        return run.rows([*needed, "gold.content", "gold.form"])
    except KeyError:  # gold is a trained model
        pass
    try:
        return run.rows(needed)
    except KeyError as missing:
        raise ValueError(missing.args[0]) from None
