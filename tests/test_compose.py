"""Jobs that share a composition come out as Hydra composes each."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode

from rlhf_lab.commands import compose, sweeper
from rlhf_lab.commands.compose import Composer
from rlhf_lab.commands.options import folder


@pytest.fixture(scope="module")
def hydra():
    """Hydra's loader and what it composes of no overrides."""
    compose.register()
    sweeper.register()
    with initialize_config_dir(str(folder("conf")), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        yield loader, loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)


JOBS = {
    "values of one set of options": [["rm=3k", "rm.lr=1e-2"], ["rm=3k", "rm.lr=1e-3", "policy.samples=8"]],
    "options of a package": [
        ["model@preferences.model=100k", "rm=1k"],
        ["model@preferences.model=10k", "rm=1k"],
    ],
    "options inside an option": [
        ["labeler=mixture", "labeler@labeler.second=length", "labeler.second.bonus=1"]
    ],
    "an option that is added": [["experiment=quickstart", "policy=ppo", "policy.kl_coef=0.5"]],
    "a list": [["rm_combination=mean", "score.extra=[x:y]"], ["rm_combination=mean", "score.extra=[]"]],
    "an interpolation": [["task=supervised", "model.seed=${preferences.seed}", "preferences.seed=4"]],
    "a value twice": [["policy.samples=8", "policy.samples=9"]],
}


@pytest.mark.parametrize("jobs", JOBS.values(), ids=JOBS)
def test_a_job_is_what_hydra_composes(hydra, jobs):
    loader, master = hydra
    composer = Composer(loader, master)
    for overrides in jobs:
        wanted = loader.load_sweep_config(master, overrides)
        found = composer.compose(overrides)
        assert found.hydra.runtime.choices == wanted.hydra.runtime.choices
        assert {**found.config} == {key: value for key, value in wanted.items() if key != "hydra"}


def test_jobs_of_the_same_options_are_composed_once(hydra, monkeypatch):
    loader, master = hydra
    calls = []
    compose_ = loader.load_sweep_config
    monkeypatch.setattr(
        loader, "load_sweep_config", lambda master, words: calls.append(words) or compose_(master, words)
    )
    composer = Composer(loader, master)
    seeds = [composer.compose(["rm=25k", f"rm.seed={seed}"]).config.rm.seed for seed in (3, 4, 5)]
    assert seeds == [3, 4, 5] and calls == [["rm=25k"]]


@pytest.mark.parametrize(
    "overrides", [["rm.lrr=1"], ["rm=4k"], ["rm.lr=fast"], ["+rm.lr=1"], ["~score.extra"]]
)
def test_what_hydra_refuses_is_refused_in_its_words(hydra, overrides):
    loader, master = hydra
    with pytest.raises(ConfigCompositionException) as wanted:
        loader.load_sweep_config(master, overrides)
    with pytest.raises(ConfigCompositionException) as found:
        Composer(loader, master).compose(overrides)
    assert str(found.value) == str(wanted.value)
