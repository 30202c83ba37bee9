"""What a key depends on: every value that changes a result, the contents of files, and nothing else."""

import dataclasses
import enum
from functools import cache

import pytest
from composing import experiment

from rlhf_lab.config.intervention import SyntheticData
from rlhf_lab.config.labelers import Mixture
from rlhf_lab.config.models import Half
from rlhf_lab.config.runtime import Runtime, Tracker
from rlhf_lab.config.tasks import Supervised, SyntheticAssistant
from rlhf_lab.pipeline.plan import plan
from rlhf_lab.store.artifacts import Node, digest, file_digest


def test_a_number_has_one_key_however_it_is_written():
    assert digest({"a": 1e-4, "b": 2}) == digest({"b": 2.0, "a": 0.0001})
    assert digest({"a": 1}) != digest({"a": True}) and digest({"a": 1}) != digest({"a": "1"})
    with pytest.raises(ValueError, match="finite"):
        digest(float("nan"))
    with pytest.raises(TypeError, match="cannot key"):
        digest({1, 2})


def test_the_key_of_an_experiment_is_the_same_however_it_is_asked_for():
    asked = [
        ("policy=ppo", "policy.lr=1e-4", "rm=25k"),
        ("rm=25k", "policy.lr=0.0001", "policy=ppo", "runtime.device=cpu"),
    ]
    first, second = (plan(experiment(*overrides)).key for overrides in asked)
    assert first == second


def test_contents_of_files_count_and_their_place_does_not(tmp_path):
    folders = [tmp_path / name for name in ("here", "elsewhere", "edited")]
    for folder in folders:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
    (folders[2] / "config.json").write_text("{ }")
    here, elsewhere, edited = (
        plan(experiment("model=pretrained", f"model.path={folder}")).key for folder in folders
    )
    assert here == elsewhere != edited


def test_an_edited_file_is_seen_within_one_process(tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text("one")
    before = plan(experiment("model=pretrained", f"model.path={data}")).key
    data.write_text("two, longer")
    assert plan(experiment("model=pretrained", f"model.path={data}")).key != before


def test_the_key_of_a_folder_sees_names_and_contents(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    before = file_digest(tmp_path / "a")
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    assert file_digest(tmp_path / "a") != before


def test_version_and_inputs_count():
    @dataclasses.dataclass
    class Config:
        steps: int

    node = Node("lab.stage", 1, Config(3))
    assert node.key != Node("lab.stage", 2, Config(3)).key
    assert node.key != Node("lab.stage", 1, Config(3), {"task": node}).key
    assert node.key != Node("lab.other", 1, Config(3)).key
    assert node.key == Node("lab.stage", 1, Config(3)).key


def test_answers_of_the_policys_own_model_are_its_own_answers_however_that_is_said():
    own = plan(experiment("model=10k"))
    said = plan(experiment("model=10k", "model@preferences.model=10k"))
    assert said.key == own.key


@pytest.mark.parametrize("writer", ["sft", "base"])
def test_policies_of_two_sizes_meet_one_reward_model_if_one_model_wrote_the_answers(writer):
    asked = ("model@preferences.model=10k", f"preferences.writer={writer}")
    small, large = (plan(experiment(f"model={size}", *asked)) for size in ("10k", "100k"))
    proxies = {leaf.inputs["proxy"].inputs["proxy"].key for leaf in (small, large)}
    assert len(proxies) == 1 and small.inputs["samples"].key != large.inputs["samples"].key
    assert proxies != {plan(experiment("model=100k", asked[1])).inputs["proxy"].inputs["proxy"].key}


def test_a_reward_model_from_sft_starts_from_the_policys_whoever_wrote_the_answers():
    leaf = plan(experiment("model=100k", "model@preferences.model=10k", "rm.init=sft"))
    proxy = leaf.inputs["proxy"].inputs["proxy"]
    assert proxy.inputs["trunk"].key == leaf.inputs["samples"].inputs["sft"].key
    assert proxy.inputs["pairs"].inputs["writer"].key != proxy.inputs["trunk"].key


# --- every field alone --------------------------------------------------------------------------------------

CASES = [
    ("policy=bon", "labeler=gold_argmax", "rm.half=first"),
    ("policy=bon", "rm_combination=uwo"),
    ("policy=ppo", "policy.kl_coef=0.1", "rm_combination=lower_bound", "reward_shaping=clip"),
    ("policy=ppo", "policy.kl_coef=0.1", "labeler=boltzmann", "reward_shaping=agreement_penalty"),
    ("policy=grpo", "policy.kl_coef=0.1", "labeler=limited"),
    ("policy=bon", "task=every_family", "labeler=vulnerable", "labeler@labeler.first=confident"),
    ("policy=grpo", "policy.kl_coef=0.1", "task=every_family", "labeler=flawed"),
    ("policy=ppo", "policy.kl_coef=0.1", "rm_combination=constrained"),
    ("policy=ppo", "policy.kl_coef=0.1", "task=every_family", "score.second_turns=2"),
    ("policy=online_dpo", "task=supervised", "task.imitations=true", "task.supervised=monitored"),
    ("policy=bon", "task=every_family", "task.deference=0.5", "intervention=synthetic_data"),
    ("policy=hedge_tune",),
    ("policy=ipo", "model@preferences.model=10k"),
    ("policy=expert_iteration",),
    ("policy=ppo", "policy.kl_coef=0.1", "labeler=flip", "tracker=wandb"),
    (
        "policy=ppo",
        "policy.kl_coef=0.1",
        "rm=pretrained",
        "rm.model.path={file}",
        "model=pretrained",
        "model.path={file}",
    ),
    ("policy=bon", "task=preference_pairs", "task.path={file}"),
]


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_a_field_moves_the_key_unless_it_only_says_how_to_run(case, tmp_path):
    file = tmp_path / "file"
    file.write_text("contents")
    (tmp_path / "other").write_text("other contents")
    base = experiment(*(override.format(file=file) for override in case))
    key, seen = plan(base).key, 0
    for path, changed, neutral in variants(base, tmp_path):
        assert (plan(changed).key == key) == neutral, path
        seen += 1
    assert seen >= 45, "an enumeration that shrank to nothing is a defect"


def variants(config, folder, root=None, path=()):
    """(dotted path, experiment with that one field changed, whether the key should stay)."""
    root = root or config
    skipped = {("score", "other_half")} if root.rm.half is Half.both else set()  # refused there
    if not isinstance(root.task, SyntheticAssistant):
        skipped |= {("score", "behaviour"), ("score", "utility")}
    if not (isinstance(root.task, SyntheticAssistant) and root.task.challenges):
        skipped |= {("score", "second_turns")}  # nobody has words for them
    if root.score.second_turns:
        skipped |= {("task", "challenges")}  # they need its words
    if isinstance(root.task, Supervised):
        skipped |= {("task", "tags")}  # refused there without
    if isinstance(root.intervention, SyntheticData):
        skipped |= {("task", "tags")}  # its prompts have none
    if isinstance(root.labeler, Mixture):
        skipped |= {("score", "utility")}
    for field in dataclasses.fields(config):
        value, here = getattr(config, field.name), (*path, field.name)
        if here in skipped:
            continue
        if dataclasses.is_dataclass(value):
            yield from variants(value, folder, root, here)
            continue
        neutral = isinstance(config, (Runtime, Tracker))
        yield ".".join(here), replaced(root, here, alternatives(field, value, folder)), neutral


def alternatives(field, value, folder):
    if isinstance(value, enum.Enum):
        return [other for other in type(value) if other is not value]
    if isinstance(value, dict):  # of labelers: one of another temperature less
        return [dict(list(value.items())[1:])]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [value + 1, value + 0.25, value * 2, value / 2]
    if isinstance(value, list):
        return [["json:dumps"]] if "str" in field.type else [[2 * one for one in value]]
    if value is None and "float" in field.type:
        return [0.5]
    if value is None and "int" in field.type:
        return [7]
    if value is None and "Model" in field.type:
        return [another_model()]
    return [str(folder / "other")] if field.metadata.get("content") else ["f" * 40]


@cache
def another_model():
    return experiment("model=1k").model


def replaced(config, path, values):
    """`config` with the field at `path` set to the first of `values` that is in its range."""
    for value in values:
        try:
            return _with(config, path, value)
        except ValueError:
            continue
    raise AssertionError(f"no other value for {'.'.join(path)} is in its range")


def _with(config, path, value):
    name, *rest = path
    return dataclasses.replace(config, **{name: _with(getattr(config, name), rest, value) if rest else value})
