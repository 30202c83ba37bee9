"""Which jobs a sweep has; and every option, experiment and sweep composes."""

from pathlib import Path

import pytest
from composing import experiment
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from rlhf_lab.commands import jobs as sweep_jobs
from rlhf_lab.commands.options import REPLICATES, folder
from rlhf_lab.config.registry import GROUPS
from rlhf_lab.pipeline.plan import plan
from rlhf_lab.store import records

PARSE = OverridesParser.create().parse_overrides


def jobs(given=(), cells_=(), **params):
    return [" ".join(job) for job in sweep_jobs.overrides_of_jobs(params, list(cells_), list(given), PARSE)]


def test_a_sweep_is_the_product_of_its_params():
    assert jobs(["rm=3k,25k", "policy.seed=range(2)"]) == [
        "rm=3k policy.seed=0",
        "rm=3k policy.seed=1",
        "rm=25k policy.seed=0",
        "rm=25k policy.seed=1",
    ]


def test_cells_are_products_of_their_own():
    found = jobs([], ["rm=3k,25k policy=bon", "rm=3k preferences.pairs=250"], replicate="r0,r1")
    assert found == [
        "replicate=r0 rm=3k policy=bon",
        "replicate=r0 rm=25k policy=bon",
        "replicate=r1 rm=3k policy=bon",
        "replicate=r1 rm=25k policy=bon",
        "replicate=r0 rm=3k preferences.pairs=250",
        "replicate=r1 rm=3k preferences.pairs=250",
    ]


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (["rm=25k"], ["rm=25k policy=bon", "rm=25k policy=ppo policy.kl_coef=0.1"]),
        (["policy=bon"], ["rm=3k policy=bon", "rm=25k policy=bon"]),
        (["policy=ppo", "policy.kl_coef=0"], ["rm=25k policy=ppo policy.kl_coef=0"]),
        (["rm=3k,25k", "policy=ppo"], ["rm=25k policy=ppo policy.kl_coef=0.1"]),
        (["rm=100k", "policy=bon"], ["rm=100k policy=bon"]),
        (["rm=3k,100k", "policy=bon"], ["rm=3k policy=bon", "rm=100k policy=bon"]),
        (["experiment=x", "rm=3k"], ["rm=3k policy=bon experiment=x"]),
    ],
)
def test_the_command_line_narrows(given, left):
    assert jobs(given, ["rm=3k,25k policy=bon", "rm=25k policy=ppo policy.kl_coef=0.1"]) == left


def test_lists_and_quoted_values_stay_whole():
    written = ["score.extra=[a:b,c:d]", "runtime.store='a b'"]
    assert jobs(written) == [" ".join(written)]
    assert jobs([f"score.extra={sweep_jobs.only('[a:b,c:d]')}"]) == written[:1]


def test_a_range_without_steps_is_refused():
    with pytest.raises(ValueError, match="a sweep needs a list of values"):
        jobs(["sft.lr=interval(0,1)"])


# --- everything in conf/ ------------------------------------------------------------------------------------

NEEDED = {  # what an option needs from the user
    "model=pretrained": ["model.path={file}"],
    "rm=pretrained": ["rm.model.path={file}"],
    "task=preference_pairs": ["task.path={file}"],
    **{f"reward_shaping={name}": ["policy=ppo"] for name in GROUPS["reward_shaping"]},  # a learner
    "rm_combination=constrained": ["policy=ppo"],
}
OPTIONS = sorted(f"{path.parent.name}={path.stem}" for path in folder("conf").glob("*/*.yaml"))
SWEEPS = sorted(path.stem for path in folder("sweeps").glob("*.yaml"))
PLANNED_FAST = ("quickstart", "sycophancy", "labeler_dose")  # planning one of the others takes 1 to 9 s


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_plans(option, tmp_path):
    file = tmp_path / "file"
    file.write_text("contents")
    needed = [override.format(file=file) for override in NEEDED.get(option, ())]
    given = option.startswith("reward=") and option != "reward=learned"  # no reward model, no comparisons
    assert len(list(plan(experiment(option, *needed)).walk())) >= (7 if given else 9)


def test_the_enumeration_finds_what_is_there():
    groups = {option.split("=")[0] for option in OPTIONS}
    assert groups >= {"task", "model", "labeler", "rm", "policy", "tracker", "runtime"}
    assert len(OPTIONS) >= 23 and len(SWEEPS) >= 1 and len(REPLICATES) == 30


def written(sweep):
    """Return the first line of a sweep's file and all of its jobs."""
    path = folder("sweeps") / f"{sweep}.yaml"
    sweeper = OmegaConf.load(path).hydra.sweeper
    all_jobs = jobs([], sweeper.get("cells", []), **sweeper.get("params", {}))
    return path.read_text().splitlines()[0], all_jobs


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_sweep_says_its_command_and_has_jobs(sweep):
    first, all_jobs = written(sweep)
    assert first.startswith(f"# rlhf-lab experiment={sweep}"), "the first line is the command"
    assert len(all_jobs) == len(set(all_jobs)) >= 4


@pytest.mark.parametrize(
    "sweep",
    [name if name in PLANNED_FAST else pytest.param(name, marks=pytest.mark.slow) for name in SWEEPS],
)
def test_the_jobs_of_one_replicate_plan(sweep, lab, tmp_path):
    first, all_jobs = written(sweep)
    replicate = next(word for word in all_jobs[0].split() if word.startswith("replicate="))
    (tmp_path / "file").write_text("contents")
    needed = [f"task.path={tmp_path / 'file'}"] if "task.path=" in first else []
    answer = lab(f"experiment={sweep}", "runtime.plan=true", replicate, *needed)
    assert answer.code == 0, answer.err
    planned = int(answer.out.splitlines()[-1].split()[0])
    assert planned == sum(replicate in job.split() for job in all_jobs)
    assert not records.store_root().exists()


def test_a_replicate_has_seeds_of_its_own_for_pairs_reward_model_and_policy():
    config = experiment("replicate=r107")
    assert (config.preferences.seed, config.rm.seed, config.policy.seed) == (107, 107, 107)
    assert experiment("replicate=r107", "policy.seed=5").policy.seed == 5


@pytest.mark.parametrize("policy", GROUPS["policy"])
def test_the_tiny_experiment_is_tiny_for_every_policy(policy):
    config = experiment("experiment=tiny", f"policy={policy}").policy
    for name, most in {
        "steps": 4,
        "evaluations": 2,
        "epochs": 1,
        "rounds": 1,
        "rollout": 16,
        "prompts": 12,
    }.items():
        assert getattr(config, name, 0) <= most, name


def test_options_are_listed_in_the_help_by_size(lab):
    listed = next(line for line in lab("--help").out.splitlines() if line.startswith("  rm "))
    assert listed.split(" | ")[0].endswith("1k") and Path(folder("conf") / "rm").is_dir()


QUICK = {
    path.stem: line.partition("rlhf-lab ")[2].split()
    for path in folder("sweeps").glob("*.yaml")
    for line in path.read_text().splitlines()
    if line.startswith("# Quick")
}


@pytest.mark.parametrize("sweep", QUICK)
def test_the_quick_variant_that_a_sweep_names_is_a_part_of_it_and_composes(sweep):
    named, *given = QUICK[sweep]
    assert named in (f"experiment={sweep}", "experiment=quickstart")
    sweeper = OmegaConf.load(folder("sweeps") / f"{named.partition('=')[2]}.yaml").hydra.sweeper
    params, cells_ = sweeper.get("params", {}), sweeper.get("cells", [])
    quick, whole = (len(jobs(words, cells_, **params)) for words in (given, ["replicate=r0"]))
    assert quick >= 1 and (quick <= whole or named.endswith("quickstart"))
    job = next(iter(jobs(given, cells_, **params))).split()
    assert plan(experiment(named, *job)).key


def leaf(sweep, *wanted):
    """The key of the one PPO run of a replicate that `wanted` overrides tell."""
    written = OmegaConf.load(folder("sweeps") / f"{sweep}.yaml")
    params = {**written.hydra.sweeper.params, "replicate": "r115"}
    found = [job.split() for job in jobs([], written.hydra.sweeper.cells, **params)]
    (own,) = [job for job in found if set(wanted) <= {*job, "policy=ppo"} and "policy=bon" not in job]
    settings = {name: part for name, part in written.items() if name not in ("defaults", "hydra")}
    fixed = [f"{name}.{key}={value}" for name, part in settings.items() for key, value in part.items()]
    return plan(experiment("task=every_family", "policy=ppo", *fixed, *own)).key


def test_sweeps_after_sycophancy_share_its_policies():
    gold, pleased = "labeler=gold_argmax", "labeler=sycophantic"
    shared = {of: leaf("sycophancy", of) for of in (gold, pleased)}
    assert shared[gold] != shared[pleased]
    assert {of: leaf("perez2022_rlsteps", "model=25k", of) for of in (gold, pleased)} == shared
    assert leaf("mitigations", gold) == shared[gold]
    assert leaf("mitigations", pleased, "reward_shaping=none") == shared[pleased]


def test_sweeps_have_quick_variants():
    assert set(SWEEPS) - set(QUICK) <= {"quickstart", "hh_harmless"}
