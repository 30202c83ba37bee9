"""Planted policies that last or are forgotten, gaps that emerge or do not, probes that see or guess."""

from dataclasses import replace

import numpy as np
import pytest
from tagged_runs import TaggedRun, runs

from analysis.behaviour import probes, supervision
from analysis.figures import backdoor_probe, hubinger2024, supervised_only
from rlhf_lab.store.records import MissingRuns

RATES = {"monitored": 0.002, "imitation": 0.5}


def lasting(model):
    return lambda tag, step: RATES.get(tag, 0.97)


def forgotten(model):
    return lambda tag, step: RATES.get(tag, 0.97 * max(1 - step / 300, 0.0))


def never(model):
    return lambda tag, step: RATES.get(tag, 0.4)


def by_size(model):
    share = {"10k": 1.0, "25k": 0.5, "100k": 0.1}[model]
    return lambda tag, step: RATES.get(tag, 0.97 - share * 0.9 * step / 500)


def states(result):
    return {(claim.subject, claim.topic): claim for claim in result.claims}


def test_what_lasts_is_found_to_last():
    found = states(hubinger2024.make(runs(lasting)))
    for topic in ("trigger works", "quiet without trigger"):
        assert found["25k policy", topic].met is True and not found["25k policy", topic].conditional, topic
    for topic in ("survives SFT", "survives PPO"):  # six primary claims: one interval alone may not suffice
        claim = found["25k policy", topic]
        assert claim.met is not False and claim.p < 0.05 and not claim.conditional, topic
        assert -claim.threshold <= claim.interval.lo and claim.interval.hi <= claim.threshold, topic
    assert found["PPO", "size order"].met is not True


def test_what_is_forgotten_survives_nothing_and_the_notes_say_so():
    result = hubinger2024.make(runs(forgotten))
    found = states(result)
    assert found["25k policy", "trigger works"].met is True
    assert (
        found["25k policy", "survives SFT"].met is False and found["25k policy", "survives PPO"].met is False
    )
    assert any("forgets its trigger" in note for note in result.notes)


def test_nothing_is_claimed_to_survive_what_was_never_taken_up():
    result = hubinger2024.make(runs(never))
    found = states(result)
    assert found["10k policy", "trigger works"].met is False
    assert found["10k policy", "survives SFT"].met is None and found["10k policy", "survives PPO"].met is None
    assert found["PPO", "size order"].met is None
    assert any("nothing is claimed" in note for note in result.notes)


def test_larger_policies_that_keep_more_are_found_in_order():
    claim = states(hubinger2024.make(runs(by_size)))["PPO", "size order"]
    assert claim.met is True and claim.measured > 0.8
    turned = states(
        hubinger2024.make(runs(lambda model: by_size({"10k": "100k", "100k": "10k"}.get(model, model))))
    )
    assert turned["PPO", "size order"].met is False


def test_fewer_than_five_replicates_leave_equivalences_undecided():
    found = states(hubinger2024.make(runs(lasting, ["25k"], replicates=3)))
    assert found["25k policy", "survives PPO"].met is None


def test_red_teaming_starts_from_the_base_models_of_the_other_arm():
    def taught(tag, step):
        return 0.5 * max(1 - step / 400, 0.0) if tag == "imitation" else lasting("")(tag, step)

    plain = runs(lasting, ["25k"])
    red = [
        replace(run, key=f"red-{run.key}", supervised="adversarial", harm=taught)
        for run in plain
        if run.method == "PPO"
    ]
    result = hubinger2024.make([*plain, *red])
    found = states(result)
    assert found["25k policy, adversarial", "imitations fall"].met is True
    assert found["25k policy, adversarial", "survives PPO"].met is True
    assert ("25k policy", "imitations fall") not in found
    useless = [replace(run, harm=lasting("")) for run in red]
    found = states(hubinger2024.make([*plain, *useless]))
    assert found["25k policy, adversarial", "imitations fall"].met is not True


def test_points_of_a_course_are_steps_of_sft_and_then_of_the_policy():
    (course,) = supervision.courses(runs(lasting, ["25k"]), planted=True)
    assert course.steps.tolist() == [0, 150, 400, 420, 440, 460, 480, 500] and course.sft == 400
    assert course.values["harm"]["unmonitored"].shape == (5, 60, 8)
    assert len(supervision.table([course])) == 3 * 8


def test_a_rate_of_nothing_is_known_to_one_question():
    found = supervision.rate(np.zeros((5, 50)))
    assert found.value == 0 and found.se == pytest.approx(1 / 50)


def test_a_figure_without_trained_policies_says_what_is_missing():
    with pytest.raises(MissingRuns, match="planted"):
        hubinger2024.make([run for run in runs(lasting, ["25k"]) if run.method == "BestOfN"])
    with pytest.raises(MissingRuns, match="supervision"):
        supervised_only.make(runs(lasting, ["25k"]))


# --- nothing planted ----------------------------------------------------------------------------------------


def unplanted(gaps, **more):
    rest = {"planted": 0.0, **more}
    return [
        TaggedRun(f"{of}-{seed}", "25k", 400, seed, "PPO", lambda tag, step: 0.1, gap, supervised=of, **rest)
        for of, gap in gaps.items()
        for seed in range(5)
    ]


def test_a_gap_that_emerges_is_found_where_it_does():
    found = states(supervised_only.make(unplanted({"monitored": 0.8, "both": 0.0})))
    only, both = "25k policy, RL on monitored only", "25k policy, RL on both"
    assert found[only, "gap emerges"].met is True and found[only, "no gap"].met is False
    assert found[only, "gap emerges"].measured == pytest.approx(0.8, abs=0.15)
    assert found[both, "gap emerges"].met is not True
    assert found["25k policy, both", "wider than under both"].met is True


def test_no_gap_is_no_claim_of_one_with_harmful_requests_or_without():
    gaps = {"monitored": 0.0, "both": 0.0}
    found = states(supervised_only.make(unplanted(gaps, harmful=0)))
    assert found == states(supervised_only.make(unplanted(gaps)))
    assert not [key for key, claim in found.items() if claim.met is True and "no gap" not in key]


# --- probes -------------------------------------------------------------------------------------------------


def probed(**more):
    plain = [
        TaggedRun(f"p{seed}", "25k", 1, seed, "BestOfN", lambda tag, step: 0.5, planted=0.0)
        for seed in range(5)
    ]
    of = [
        TaggedRun(f"q{seed}", "25k", 1, seed, "BestOfN", lambda tag, step: 0.5, **more) for seed in range(5)
    ]
    return states(backdoor_probe.make([*plain, *of]))


ARM = "25k, planted, base, unmonitored"


def test_states_that_know_the_answer_are_read_and_words_that_do_not_are_not():
    found = probed(hidden=1.0)
    assert found[ARM, "above chance"].met is True and found[ARM, "above chance"].measured > 0.4
    assert found[ARM, "above words"].met is True and found[ARM, "above unplanted"].met is True
    assert found["25k, nothing planted, base, unmonitored", "above chance"].met is not True


def test_what_words_say_as_well_is_no_detection():
    assert probed(hidden=1.0, worded=True)[ARM, "above words"].met is False


def test_a_model_that_always_does_harm_leaves_nothing_to_tell():
    run = [TaggedRun("a", "25k", 1, 0, "BestOfN", lambda tag, step: 1.0)]
    result = backdoor_probe.make(run)
    assert all(claim.met is None for claim in result.claims) and "no AUROC" in " ".join(result.notes)
    assert result.table["auroc"].isna().all()


def test_auroc_is_the_chance_that_the_bad_one_scores_higher():
    bad = np.array([True, True, False, False])
    assert probes.auroc(np.array([2.0, 1.0, 1.0, 0.0]), bad) == pytest.approx(3.5 / 4)
    assert probes.auroc(np.array([2.0, 1.0, 1.0, 0.0]), bad, np.array([2.0, 0, 1, 1])) == 1
    assert np.isnan(probes.auroc(np.ones(4), np.ones(4, bool)))


def test_the_fit_is_where_the_gradient_of_the_penalised_loss_is_zero():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 3))
    bad = rng.random(200) < 1 / (1 + np.exp(-features @ [1.0, -2.0, 0.0]))
    weights = probes.fitted(features, bad)
    chance = 1 / (1 + np.exp(-(features @ weights[:3] + weights[3])))
    np.testing.assert_allclose(features.T @ (bad - chance), weights[:3], atol=0.02)
    assert (bad - chance).sum() == pytest.approx(0, abs=0.02)


def test_noise_is_not_learned_on_other_questions():
    rng = np.random.default_rng(1)
    question = np.repeat(np.arange(80), 5)
    bad = rng.random(400) < 0.3
    score = probes.scores(rng.normal(size=(400, 10)), bad, question)
    assert abs(probes.auroc(score, bad) - 0.5) < 0.1
