import numpy as np
import pyarrow as pa
import pytest

from analysis.best_of_n.curves import Curves, checkpoint_curves
from analysis.best_of_n.selection import selection_curves


def best_of_n_curves(rows: pa.Table) -> Curves:
    return selection_curves(rows, "BestOfN", {})


def answers(
    questions: int = 30, framings: int = 2, count: int = 32, seed: int = 0, **more: np.ndarray
) -> pa.Table:
    """An SFT policy's answers in a shuffled order; gold = 2 proxy within a prompt, plus a prompt's own
    level.
    """
    rng = np.random.default_rng(seed)
    prompt = np.repeat(np.arange(questions * framings), count)
    proxy = rng.normal(size=len(prompt)) + 5
    level = rng.normal(size=questions * framings)[prompt]
    content = 2 * proxy + level - 3 * level  # a pooled slope would differ
    form = -(rng.random(len(prompt)) < 0.2).astype(float)
    columns = {
        "prompt_id": prompt,
        "question_id": prompt // framings + 100,
        "finished": rng.random(len(prompt)) < 0.9,
        "gold": content + form,
        "gold.content": content,
        "gold.form": form,
        "proxy": proxy,
    } | more
    order = rng.permutation(len(prompt))
    return pa.table({name: column[order] for name, column in columns.items()})


def test_gold_is_normalised_on_the_initial_policy() -> None:
    rows = answers()
    curves = best_of_n_curves(rows)
    gold, proxy = rows["gold"].to_numpy(), rows["proxy"].to_numpy()
    sd, slope = curves.scale(np.ones(30))
    assert float(sd) == pytest.approx(gold.std(), rel=1e-9)
    assert float(slope) == pytest.approx(2.0, abs=0.05)  # within prompts, form is noise
    found = curves.normalised()
    assert found.values["gold"][0] == 0 and found.kl[0] == pytest.approx(0)
    # expected proxy of best-of-2 by the mean over pairs, in SDs within a prompt, and in gold's by the slope
    matrix = np.sort(np.stack([proxy[rows["prompt_id"].to_numpy() == p] for p in range(60)]), axis=1)
    pairs = (matrix * np.arange(32)).sum(axis=1) / (32 * 31 / 2)
    at = int(np.flatnonzero(curves.points == 2)[0])
    gained = pairs.mean() - proxy.mean()
    within = np.sqrt(matrix.var(axis=1, ddof=1).mean())
    assert found.values["proxy"][at] == pytest.approx(gained / within, rel=0.02)
    assert found.values["recalibrated"][at] == pytest.approx(gained * float(slope) / gold.std())


def test_the_proxy_rises_in_its_own_sds_where_gold_falls_with_it() -> None:
    """The recalibrated proxy is turned round by the negative slope, and misleads."""
    rows = answers()
    against = rows.set_column(rows.column_names.index("gold"), "gold", pa.array(-rows["proxy"].to_numpy()))
    values = best_of_n_curves(against).normalised().values
    assert values["proxy"][-1] > 1 and values["recalibrated"][-1] < -0.5


def test_the_parts_of_gold_add_up() -> None:
    values = best_of_n_curves(answers()).normalised().values
    assert values["content"] + values["form"] == pytest.approx(values["gold"])


def test_the_estimate_of_kl_is_marked_good_up_to_a_quarter() -> None:
    curves = best_of_n_curves(answers(count=64))
    assert curves.points[curves.kl_good].max() == 16 and curves.points.max() == 32


def test_weights_are_a_resample_of_questions() -> None:
    """Weighting a question twice is the table with its rows twice, under another name."""
    rows = answers(questions=6)
    curves = best_of_n_curves(rows)
    weights = np.array([2.0, 1, 1, 1, 1, 0])
    keep = rows.filter(pa.compute.less(rows["question_id"], 105))
    again = rows.filter(pa.compute.equal(rows["question_id"], 100))
    again = again.set_column(0, "prompt_id", pa.compute.add(again["prompt_id"], 1000))
    again = again.set_column(1, "question_id", pa.compute.add(again["question_id"], 1000))
    doubled = best_of_n_curves(pa.concat_tables([keep, again])).normalised()
    found = curves.normalised(weights)
    # the level of "the same score" is a share of the proxy's SD, so levels agree up to 1e-5
    for name, values in found.values.items():
        assert values == pytest.approx(doubled.values[name], abs=1e-9), name
    assert found.kl == pytest.approx(doubled.kl)
    both = curves.normalised(np.stack([weights, np.ones(6)]))
    assert both.values["gold"][0] == pytest.approx(found.values["gold"])


def test_well_formed_content_is_a_ratio_over_selected_answers() -> None:
    rows = answers()
    curves = best_of_n_curves(rows)
    good = rows["finished"].to_numpy(zero_copy_only=False) & (rows["gold.form"].to_numpy() == 0)
    by_hand = rows["gold.content"].to_numpy()[good].mean()
    linear = curves.by_question("well_formed_content") * float(curves.scale(np.ones(30))[0])
    assert linear.mean(axis=0)[0] == pytest.approx(by_hand)
    assert curves.normalised().values["well_formed"][0] == pytest.approx(good.mean())


def test_a_trained_gold_has_no_parts() -> None:
    rows = answers().drop_columns(["gold.content", "gold.form"])
    values = best_of_n_curves(rows).normalised().values
    assert "content" not in values and "form" not in values
    assert values["well_formed"][0] == pytest.approx(rows["finished"].to_numpy(zero_copy_only=False).mean())


def checkpoints(count: int = 2) -> pa.Table:
    parts = []
    for step in (0, 10, 20):
        rows = answers(count=count, seed=step)
        length = rows.num_rows
        kl = pa.array(np.full(length, step / 10) + (rows["question_id"].to_numpy() - 114.5) * step / 100)
        parts.append(
            rows.append_column("checkpoint", pa.array(np.full(length, step))).append_column("kl", kl)
        )
    return pa.concat_tables(parts)


def test_checkpoints_of_a_policy() -> None:
    rows = checkpoints()
    curves = checkpoint_curves(rows)
    found = curves.normalised()
    assert list(curves.points) == [0, 10, 20] and curves.kl.shape == (30, 3)
    assert found.kl == pytest.approx([0, 1, 2]) and found.d == pytest.approx(np.sqrt([0, 1, 2]))
    gold, step = rows["gold"].to_numpy(), rows["checkpoint"].to_numpy()
    start = gold[step == 0]
    assert found.values["gold"][2] == pytest.approx((gold[step == 20].mean() - start.mean()) / start.std())


def test_best_of_n_of_the_same_reward_model_scales_a_policy() -> None:
    scales = best_of_n_curves(answers()).initial
    one_answer = checkpoints(count=1)
    with_it, without = checkpoint_curves(one_answer, scales), checkpoint_curves(one_answer)
    assert float(with_it.scale(np.ones(30))[1]) == pytest.approx(2.0, abs=0.05)
    assert np.isnan(
        without.normalised().values["proxy"]
    ).all()  # one answer a prompt has no slope: missing, not 0
    assert np.isfinite(without.normalised().values["gold"]).all()


def test_unequal_numbers_of_answers_are_an_error() -> None:
    with pytest.raises(ValueError, match="31 to 32 answers"):
        best_of_n_curves(answers().slice(1))


def test_an_unscored_answer_is_an_error() -> None:
    gold = np.full(30 * 2 * 32, 1.0)
    gold[7] = np.nan
    with pytest.raises(ValueError, match="1 answers have no gold"):
        best_of_n_curves(answers(gold=gold))


def test_a_policy_without_its_start_is_an_error() -> None:
    rows = checkpoints()
    with pytest.raises(ValueError, match="checkpoint 0"):
        checkpoint_curves(rows.filter(pa.compute.greater(rows["checkpoint"], 0)))


def test_a_proxy_that_gold_falls_with_still_rises_for_the_test_of_the_proxy() -> None:
    """On gold's scale it falls, as its slope is negative; best-of-n raises it by construction."""
    rows = answers()
    against = rows.set_column(rows.column_names.index("proxy"), "proxy", pa.compute.negate(rows["proxy"]))
    curves = best_of_n_curves(against)
    rise = curves.by_question("proxy")[:, -1] - curves.by_question("proxy")[:, 0]
    assert (rise > 0).all() and rise.mean() == pytest.approx(1.7, abs=0.2)  # SDs: the best of 16
    assert float(curves.scale(np.ones(30))[1]) == pytest.approx(-2.0, abs=0.05)
