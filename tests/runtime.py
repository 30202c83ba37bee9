"""Settings of `runtime` that tests run a stage with."""

from dataclasses import replace

from rlhf_lab.config.runtime import Runtime

RUNTIME = Runtime(
    store="store",
    plan=False,
    force=[],
    device="cpu",
    threads=1,
    score_batch=64,
    log_every=1,
    checkpoint_minutes=1,
)
ALWAYS_SAVED = replace(RUNTIME, checkpoint_minutes=0.0)
