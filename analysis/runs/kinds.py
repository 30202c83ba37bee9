"""Kinds of arms: what a policy was trained on, and whether the run is a control.

Controls say what an arm on reward models is to be compared with. They are drawn, and never counted among the arms of
reward models.
"""

from __future__ import annotations

from analysis.runs.configuration import is_a
from analysis.runs.naming import COIN, is_penalised
from rlhf_lab.store.records import Run

MAIN, FEW_PAIRS, PENALISED = "main", "few_pairs", "penalised"  # arms on reward models
CONTROL = "drift_control"  # reward models that learned from coin flips
ORACLE, VISIBLE, NOISE = "oracle", "visible_gold", "noise"  # other rewards in their place
WEIGHT_NOISE, TEMPERATURE = "weight_noise", "temperature"  # methods without any reward
UNTRAINED = (WEIGHT_NOISE, TEMPERATURE)
WITHOUT_REWARD_MODEL = (ORACLE, VISIBLE, NOISE, *UNTRAINED)  # no reward model has a part in these
CONTROLS = (CONTROL, *WITHOUT_REWARD_MODEL)
KINDS = (MAIN, FEW_PAIRS, PENALISED, *CONTROLS)  # in the order of tables and legends


def kind_of(run: Run, most_pairs: int) -> str:
    """Return the kind of a run's arm, one of KINDS, by the classes of its options."""
    for kind, method in ((WEIGHT_NOISE, "WeightNoise"), (TEMPERATURE, "Temperature")):
        if is_a(run, "policy", method):
            return kind
    if is_a(run, "reward", "GoldReward"):
        return VISIBLE if run.config["reward"]["parts"] else ORACLE
    if is_a(run, "reward", "NoiseReward"):
        return NOISE
    if is_a(run, "labeler", "Flip") and run.config["labeler"]["rate"] == COIN:
        return CONTROL
    if is_penalised(run):
        return PENALISED
    return MAIN if run.config["preferences"]["pairs"] == most_pairs else FEW_PAIRS
