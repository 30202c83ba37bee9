"""A study's plotted numbers as a tidy table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.best_of_n.curves import Normalised
from analysis.runs.arms import BEST_OF_N, Arm, Study
from rlhf_lab.functional.divergence import best_of_n_bound

BANDED = ("gold", "content", "form", "proxy", "well_formed")


def points_table(study: Study) -> pd.DataFrame:
    """One row per arm and point (`curve` is mean, with 95 % bands) and per run and point (`curve` is
    replicate).
    """
    rows: list[pd.DataFrame] = []
    for arm in study.arms:
        rows.append(_mean_rows(arm))
        rows += [_replicate_rows(arm, index) for index in range(len(arm.curves))]
    return pd.concat(rows, ignore_index=True)


def _mean_rows(arm: Arm) -> pd.DataFrame:
    drawn = arm.drawn.mean()
    table = _frame(arm, Normalised(drawn.kl[0], {name: value[0] for name, value in drawn.values.items()}))
    table.insert(4, "curve", "mean")
    table.insert(5, "replicate", "")
    table["gold_se"] = drawn.values["gold"][1:].std(axis=0, ddof=1)
    banded = {"kl": drawn.kl} | {name: drawn.values[name] for name in BANDED if name in drawn.values}
    for name, values in banded.items():
        table[f"{name}_lo"], table[f"{name}_hi"] = np.quantile(values[1:], [0.025, 0.975], axis=0)
    return table


def _replicate_rows(arm: Arm, index: int) -> pd.DataFrame:
    table = _frame(arm, arm.curves[index].normalised())
    table.insert(4, "curve", "replicate")
    table.insert(5, "replicate", arm.seeds[index])
    return table


def _frame(arm: Arm, curve: Normalised) -> pd.DataFrame:
    points = arm.curves[0].points
    bound = best_of_n_bound(points) if arm.method == BEST_OF_N else np.full(len(points), np.nan)
    columns = {
        "method": arm.method,
        "rm": arm.rm,
        "arm": arm.kind,
        "label": arm.label,
        "replicates": len(arm.curves),
        "questions": arm.questions,
        "n_or_step": points,
        "kl": curve.kl,
        "kl_good": np.logical_and.reduce([one.kl_good for one in arm.curves]),
        "kl_bound": bound,
        "kl_estimator": arm.curves[0].estimator,
        "d": curve.d,
    }
    return pd.DataFrame(columns | {name: curve.values[name] for name in BANDED if name in curve.values})
