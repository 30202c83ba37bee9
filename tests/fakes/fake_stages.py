"""Stages that take milliseconds, for tests of everything around stages: same files, no models.

FAKE_FAIL=ppo:101 raises in the policy stage with that seed, FAKE_KILL kills its process, FAKE_SLEEP slows
all stages.
"""

import json
import os
import signal
import time
from functools import partial

from rlhf_lab.stages import registry
from rlhf_lab.store.metrics import Metrics
from rlhf_lab.store.records import read_table, write_table

PROMPTS, ANSWERS = 3, 4
ROWS = PROMPTS * ANSWERS
STAGES = ("task", "base", "sft", "preferences", "reward_model", "sft_answers", "ppo", "score")


def install():
    """Replace the `run` of every stage but the leaf."""
    for name in STAGES:
        registry.module(name).run = partial(run, name)


def run(name, config, inputs, out, runtime):
    trouble = f"{name}:{getattr(config, 'seed', '')}"
    time.sleep(float(os.environ.get("FAKE_SLEEP", "0")))
    if os.environ.get("FAKE_FAIL") == trouble:
        raise RuntimeError(f"{name} was told to fail")
    if os.environ.get("FAKE_KILL") == trouble:
        os.kill(os.getpid(), signal.SIGKILL)
    with Metrics(out, total=3) as metrics:
        for step in range(1, 4):
            metrics.log(step, loss=1 / step)
    (out / "made_by").write_text(str(os.getpid()))
    if name in ("sft_answers", "ppo"):
        samples(name, config, out)
    if name == "task":
        prompts(out)
    if name == "score":
        scores(config, inputs["samples"], out)
    if name == "reward_model":
        (out / "evaluation.json").write_text(json.dumps({"accuracy": 0.7, "seed": config.seed}))


def samples(name, config, out):
    index = list(range(ROWS))
    columns = {
        "prompt_id": [i // ANSWERS for i in index],
        "question_id": [i // ANSWERS for i in index],
        "checkpoint": [0 if name == "sft_answers" else i % 2 * 10 for i in index],
        "sample": [i % ANSWERS for i in index],
        "text": [f"answer {i} seed {config.seed}" for i in index],
        "token_ids": [[1, 2, 1, 7] for _ in index],
        "finished": [True for _ in index],
        "kl": [0.1 * i for i in index],
    }
    write_table(out / "samples.parquet", columns)


def prompts(out):
    messages = [json.dumps([{"role": "user", "content": f"question {i}?"}]) for i in range(PROMPTS)]
    write_table(out / "prompts.parquet", {"prompt_id": list(range(PROMPTS)), "messages": messages})


def scores(config, samples, out):
    rows = read_table(samples / "samples.parquet").num_rows
    names = ("gold", "gold.content", "gold.form") if config.name == "gold" else (config.name,)
    write_table(out / "scores.parquet", {name: [float(i) for i in range(rows)] for name in names})
