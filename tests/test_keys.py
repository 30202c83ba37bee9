"""What a key depends on: every value that changes a result, the contents of files, and nothing else."""

import dataclasses

import pytest
from composing import experiment
from variants import CASES, variants

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
