from __future__ import annotations

import itertools

import numpy as np
import pytest
import tiny
import torch
from scipy import stats

from rlhf_lab.models import sampling

PROMPTS = [[1, 3, 6, 4], [1, 3, 7, 8, 9, 4], [1, 4], [1, 3, 9, 4]]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model_logps(model, prompt: list[int], answer: list[int]) -> list[float]:
    logits = model(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1).detach()
    return [float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(answer)]


@pytest.mark.parametrize("model", [tiny.policy(), tiny.gpt2()], ids=["llama", "gpt2"])
def test_log_probabilities_are_the_models_own_whatever_the_padding(model) -> None:
    samples = sampling.sample(model, PROMPTS, 3, 8, seeded(), batch=5)
    for row, answer in enumerate(samples.tokens()):
        expected = model_logps(model, PROMPTS[row // 3], answer)
        assert samples.logps[row, : len(answer)].numpy() == pytest.approx(expected, abs=1e-4)
        assert (samples.logps[row, len(answer) :] == 0).all()
        assert (samples.ids[row, len(answer) :] == tiny.PAD).all()


def test_rows_end_at_eos_or_at_the_limit() -> None:
    samples = sampling.sample(tiny.policy(), PROMPTS, 50, 8, seeded())
    assert 0 < samples.finished.float().mean() < 1
    for answer, finished in zip(samples.tokens(), samples.finished.tolist(), strict=True):
        assert finished == (answer[-1] == tiny.EOS)
        assert tiny.EOS not in answer[:-1]
        assert finished or len(answer) == 8


def test_frequencies_are_the_models_probabilities() -> None:
    """Every answer of up to two tokens, counted, against its probability: padding and pad tokens included."""
    model, prompt = tiny.policy(sharpness=3.0), [1, 3, 6, 4]
    with torch.inference_mode():
        first = model(input_ids=torch.tensor([prompt])).logits[0, -1].softmax(-1).numpy()
        follow = (
            model(input_ids=torch.tensor([[*prompt, i] for i in range(16)])).logits[:, -1].softmax(-1).numpy()
        )
    expected: dict[tuple[int, ...], float] = {(tiny.EOS,): first[tiny.EOS]}
    expected |= {
        (i, j): first[i] * follow[i, j] for i, j in itertools.product(range(16), range(16)) if i != tiny.EOS
    }
    n = 40_000
    samples = sampling.sample(model, [[1, 4], prompt], n, 2, seeded(1)).tokens()[
        n:
    ]  # beside a shorter prompt
    counts = {answer: 0 for answer in expected}
    for answer in samples:
        counts[tuple(answer)] += 1
    observed = np.array(list(counts.values()))
    wanted = n * np.array(list(expected.values()), dtype=np.float64)
    common = wanted >= 5  # a chi-square needs filled cells
    assert wanted[~common].sum() < 50
    observed, wanted = observed[common], wanted[common]
    assert stats.chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > 1e-3


@pytest.mark.parametrize("batch", [80, 20, 7, 1])
def test_an_answer_does_not_depend_on_the_others(batch: int) -> None:
    """One at a time nothing is shared, padded or dropped."""
    model = tiny.policy()
    together = sampling.sample(model, PROMPTS, 20, 8, seeded(), batch=4 * 20)
    apart = sampling.sample(model, PROMPTS, 20, 8, seeded(), batch=batch)
    assert apart.tokens() == together.tokens()
    assert apart.logps.numpy() == pytest.approx(together.logps.numpy(), abs=1e-4)
    assert len({tuple(answer[:2]) for answer in together.tokens()}) < 60  # there was something to share


def test_draw_inverts_the_cumulative_distribution() -> None:
    logits = torch.tensor([[0.25, 0.0, 0.75], [0.0, 1.0, 0.0]]).log()
    uniform = torch.tensor([0.0, 0.249, 0.25, 0.999, 0.5], dtype=torch.float64)
    token, logp = sampling.draw(logits, torch.tensor([0, 0, 0, 0, 1]), uniform)
    assert token.tolist() == [0, 0, 2, 2, 1]
    assert logp.exp().tolist() == pytest.approx([0.25, 0.25, 0.75, 0.75, 1.0])


def test_a_broken_policy_is_named() -> None:
    with pytest.raises(FloatingPointError, match="not finite"):
        sampling.draw(torch.tensor([[0.0, float("nan")]]), torch.tensor([0]), torch.tensor([0.5]).double())
