"""Runs become arms by their configurations, and arms have names that tell them apart."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
from fake_store import Cell, only, write_store

from analysis.commands.figures import main
from analysis.runs import ablation, arms, configuration
from analysis.runs.arms import CONTROL, MAIN, PENALISED, Unsuited, arm_by, runs_by, study
from analysis.runs.penalties import unpenalised
from rlhf_lab.config import registry
from rlhf_lab.store.records import classes_of, runs


def test_arms_of_one_method_are_told_apart_by_what_they_differ_in(tmp_path: Path) -> None:
    cells = (
        *(Cell("ppo", {"kl_coef": coefficient}) for coefficient in (0.0, 0.3, 0.05)),
        Cell("ppo", {"kl_coef": 0.3, "kl_place": "loss", "divergence": "sqrt_chi2"}),
        *(Cell("dpo", {"beta": beta}) for beta in (0.5, 0.05)),
        Cell("kto", {"beta": 0.1}),
    )
    write_store(tmp_path, only(*cells, name="mine", questions=8))
    read = study(runs("mine", tmp_path))
    assert [(arm.title, arm.kind) for arm in read.arms] == [
        ("DPO, 3k, beta 0.05", MAIN),
        ("DPO, 3k, beta 0.5", MAIN),
        ("KTO, 3k", MAIN),  # one beta is no news
        ("PPO, 3k", MAIN),
        ("PPO, 3k, KL penalty 0.05", PENALISED),
        ("PPO, 3k, KL penalty 0.3", PENALISED),
        ("PPO, 3k, root-chi-squared penalty 0.3 in the loss", PENALISED),
    ]
    assert all(len(arm.curves) == len(arm.runs) == 2 for arm in read.arms)
    assert [arm.settings.get("beta") for arm in read.arms[:3]] == [0.05, 0.5, 0.1]


def test_runs_of_the_same_seeds_are_no_replicates(tmp_path: Path) -> None:
    write_store(tmp_path, only(Cell("ppo"), Cell("ppo"), name="mine", questions=8))
    with pytest.raises(ValueError, match="one configuration and the same seeds, so they are no replicates"):
        study(runs("mine", tmp_path))


def test_a_setting_that_differs_between_unlike_reward_models_only_is_no_name(tmp_path: Path) -> None:
    cells = (Cell("ppo", {"steps": 120}), Cell("ppo", {"steps": 96}, rm="25k"))
    write_store(tmp_path, only(*cells, name="mine", questions=8))
    assert [arm.title for arm in study(runs("mine", tmp_path)).arms] == ["PPO, 3k", "PPO, 25k"]


def test_rewards_that_differ_in_rule_labels_or_shaping_are_arms_of_their_own(tmp_path: Path) -> None:
    rules = [Cell("bon", rule=rule) for rule in ("single", "mean", "min", "uwo", "warm")]
    flipped = [Cell("bon", rule=rule, rate=0.25) for rule in ("single", "mean")]
    shaped = [Cell("ppo", shaping=one) for one in ("none", "par", "clip", "log_sigmoid")]
    penalised = [Cell("ppo", {"kl_coef": 0.05}, shaping="par")]
    write_store(tmp_path, only(*rules, *flipped, *shaped, *penalised, name="mine", questions=8))
    read = study(runs("mine", tmp_path))
    assert {arm.label for arm in read.of("bon")} == {
        "3k",
        "3k, mean of 5",
        "3k, min of 5",
        "3k, UWO of 5 (.5)",
        "3k, WARM of 5",
        "3k, 25 % flipped",
        "3k, mean of 5, 25 % flipped",
    }
    assert {arm.label for arm in read.of("ppo")} == {
        "3k",
        "3k, PAR",
        "3k, clipped at 1 SD",
        "3k, log-sigmoid at .85",
        "3k, PAR, KL penalty 0.05",
    }
    (under_penalty,) = read.of("ppo", PENALISED)
    without = unpenalised(read, under_penalty)
    assert without is not None and without.label == "3k, PAR"


def test_a_trained_policy_is_scaled_by_best_of_n_under_the_same_rule_whatever_the_shaping(
    tmp_path: Path,
) -> None:
    """Mean and minimum have the same settings: only the option tells them apart."""
    bon = [Cell("bon", rule=rule) for rule in ("mean", "min")]
    ppo = [Cell("ppo", rule="min"), Cell("ppo", rule="mean"), Cell("ppo", rule="min", shaping="par")]
    write_store(tmp_path, only(*bon, *ppo, name="mine", questions=8))
    read = {arm.title: arm.curves[0].initial.covariance for arm in study(runs("mine", tmp_path)).arms}
    mean, least = read["best-of-n, 3k, mean of 5"], read["best-of-n, 3k, min of 5"]
    assert (mean != least).any()
    assert (read["PPO, 3k, mean of 5"] == mean).all()
    assert (read["PPO, 3k, min of 5"] == least).all() and (read["PPO, 3k, min of 5, PAR"] == least).all()


# --- every field of the schema ----------------------------------------------------------------------------------

sys.path.append(str(Path(__file__).parents[1]))
from variants import CASES, variants  # noqa: E402


def recorded(experiment, like, case):
    """Return a run whose record holds this experiment, and whose answers are those of the run `like`."""
    config = json.loads(json.dumps(asdict(experiment), default=lambda value: value.name))  # enums by name
    options = dict(override.split("=") for override in case if "." not in override and "@" not in override)
    classes = {path: registry.lineage(schema) for path, schema in registry.classes(experiment)}
    choices = {**like.choices, **options}
    return replace(like, key=f"{id(experiment):020x}", config=config, choices=choices, classes=classes)


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_a_field_makes_an_arm_unless_it_is_a_seed_or_says_how_to_run(case, tmp_path):
    from composing import experiment

    (tmp_path / "file").write_text("contents")
    (tmp_path / "other").write_text("other contents")
    policy = case[0].removeprefix("policy=").replace("hedge_tune", "bon")
    write_store(tmp_path, only(Cell(policy, replicates=1), name="mine", questions=8))
    (like,) = runs("mine", tmp_path)
    curves = arms.curves_of(like)
    base_experiment = experiment(*(override.format(file=tmp_path / "file") for override in case))
    base, seen = recorded(base_experiment, like, case), 0
    for path, changed, neutral in variants(base_experiment, tmp_path):
        pair = [(base, curves), (recorded(changed, like, case), curves)]
        most_pairs = max(run.config["preferences"]["pairs"] for run, _ in pair)
        if neutral:
            assert configuration.identity(pair[0][0]) == configuration.identity(pair[1][0]), path
            continue
        made = arms._arms(pair, most_pairs)
        seen += 1
        if configuration.is_seed(path):
            assert [len(set(arm.seeds)) for arm in made] == [2], path
        else:
            assert len({(arm.method, arm.label) for arm in made}) == 2, path
    assert seen >= 40, "an enumeration that shrank to nothing is a defect"


@pytest.mark.parametrize("name", ["lr", "loss", "center"])
@pytest.mark.parametrize("other_seeds", [False, True])
def test_two_settings_of_a_reward_model_are_two_curves_of_a_figure(tmp_path, name, other_seeds):
    """With the same seeds they used to be refused; with others they were pooled as replicates of one arm."""
    cells = [Cell("ppo", training={name: value}) for value in (1, 2)]
    write_store(tmp_path, only(*cells, name="mine", questions=8))
    if other_seeds:
        record = next((tmp_path / "sweeps" / "mine").glob("*.json"))
        text = record.read_text().split(f'"{name}": 2')
        record.write_text(
            text[0] + "".join(f'"{name}": 2, "head_seed": {n}{part}' for n, part in enumerate(text[1:]))
        )
    assert main(["gao2022_fig1", "--sweep", "mine", "--store", str(tmp_path), "--out", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "gao2022_fig1.csv")
    assert set(table["label"]) == {f"3k, rm.{name} 1", f"3k, rm.{name} 2"} and set(table["replicates"]) == {2}


def test_several_checkpoints_are_told_apart_by_their_paths(tmp_path):
    write_store(tmp_path, only(*(Cell("ppo", rm=rm) for rm in ("3k", "25k")), name="mine", questions=8))
    checkpoints = [
        replace(
            run,
            choices={**run.choices, "rm": "pretrained"},
            config={**run.config, "rm": {**run.config["rm"], "model": {"path": f"rm-{run.choices['rm']}"}}},
        )
        for run in runs("mine", tmp_path)
    ]
    checkpoints = [replace(run, classes=classes_of(run.choices, run.config)) for run in checkpoints]
    read = study(checkpoints).arms
    assert [(arm.label, arm.rm) for arm in read] == [
        ("pretrained rm-25k", "pretrained rm-25k"),
        ("pretrained rm-3k", "pretrained rm-3k"),
    ]


def test_a_labeler_of_the_users_own_with_a_rate_is_not_taken_for_flipped_labels(tmp_path):
    write_store(tmp_path, only(Cell("ppo", rate=0.5), name="mine", questions=8))
    (arm,) = study(runs("mine", tmp_path)).arms
    assert (arm.kind, arm.label) == (CONTROL, "3k, coin-flip labels")
    made = runs("mine", tmp_path)
    choices = {**made[0].choices, "labeler": "mine"}
    classes = {**made[0].classes, "labeler": ("Mine", "Labeler")}
    (arm,) = study([replace(run, choices=choices, classes=classes) for run in made]).arms
    assert (arm.kind, arm.label) == (MAIN, "3k, labels of mine rate 0.5")
    (arm,) = study([replace(run, choices=choices) for run in made]).arms  # an option of the class of `flip`
    assert (arm.kind, arm.label) == (CONTROL, "3k, coin-flip labels")


def test_a_record_from_before_a_group_or_a_key_existed_has_the_plain_one(tmp_path):
    write_store(tmp_path, only(Cell("ppo"), name="mine", questions=8))
    first, second = runs("mine", tmp_path)
    config = {name: dict(part) for name, part in second.config.items() if name != "reward_shaping"}
    for key in ("preferences.answers", "rm.half", "policy.divergence", "policy.kl_place"):
        section, name = key.split(".")
        del config[section][name]
    choices = {
        group: option for group, option in second.choices.items() if group in ("policy", "rm", "model")
    }
    config["rm"] |= {"margin": 0.0, "head_seed": None, "loss": "bradley_terry"}
    earlier = replace(second, choices=choices, config=config, classes=classes_of(choices, config))
    (arm,) = study([first, earlier]).arms
    assert arm.seeds == ("0/0/0", "1/1/0")


def test_other_seeds_name_replicates_only_where_the_usual_ones_do_not_tell_them_apart(tmp_path):
    cells = [Cell("ppo", replicates=2), Cell("dpo", replicates=2)]
    write_store(tmp_path, only(*cells, name="mine", questions=8))

    def with_sft_seeds(*seeds):
        return [
            replace(run, config={**run.config, "sft": {"seed": seed}})
            for run, seed in zip(made, seeds, strict=True)
        ]

    made = runs("mine", tmp_path)
    names = {arm.method: arm.seeds for arm in study(with_sft_seeds(0, 1, 0, 1)).arms}
    assert names == {"ppo": ("0/0/0", "1/1/0"), "dpo": ("0/0/0", "1/1/0")}
    made = [
        replace(
            run,
            config={**run.config, **dict.fromkeys(("rm", "preferences"))}
            | {part: {**run.config[part], "seed": 0} for part in ("rm", "preferences")},
        )
        for run in made
    ]
    names = {arm.method: arm.seeds for arm in study(with_sft_seeds(0, 1, 0, 1)).arms}
    assert names["ppo"] == names["dpo"] == ("0/0/0 sft.seed=0", "0/0/0 sft.seed=1")


def test_arms_are_compared_with_the_one_that_differs_in_nothing_else(tmp_path):
    """Two learning rates of the reward model, each with a penalty, a rule and nothing."""
    rates = ({"lr": 0.1}, {"lr": 0.2})
    penalised = [Cell("ppo", {"kl_coef": 0.1}, training=rate) for rate in rates]
    ruled = [Cell("ppo", rule="mean", training=rate) for rate in rates]
    plain = [Cell("ppo", training=rate) for rate in rates]
    write_store(tmp_path, only(*penalised, *ruled, *plain, name="mine", questions=8))
    read = study(runs("mine", tmp_path))
    pairs = [(arm, unpenalised(read, arm)) for arm in read.of("ppo", PENALISED)]
    pairs += [
        (other, first) for first, *others in ablation.conditions(read.arms, ablation.RULE) for other in others
    ]
    told = [
        (arm.runs[0].config["rm"]["lr"], plain.runs[0].config["rm"]["lr"]) for arm, plain in pairs if plain
    ]
    assert sorted(told) == [(0.1, 0.1), (0.1, 0.1), (0.2, 0.2), (0.2, 0.2)]


def test_a_figure_never_takes_two_arms_for_one(tmp_path):
    write_store(
        tmp_path, only(*(Cell("ppo", training={"lr": lr}) for lr in (0.1, 0.2)), name="mine", questions=8)
    )
    made = runs("mine", tmp_path)
    with pytest.raises(
        Unsuited, match=r"PPO, 3k, rm.lr 0.1 and PPO, 3k, rm.lr 0.2 for one arm.* differ in rm.lr"
    ):
        arm_by(study(made).arms, lambda arm: arm.rm)
    with pytest.raises(Unsuited, match=r"differ in rm\.lr: choose"):
        runs_by(made, lambda run: run.choices["rm"])
    assert [len(members) for members in runs_by(made, lambda run: run.choices["rm"], "rm.lr").values()] == [4]
