"""The stages of the pipeline. Each has a `VERSION` and `run(config, inputs, out, runtime)`; `registry` names them all.

A stage's `run` reads the folders `inputs` of finished stages and leaves its files in the empty folder `out`. A stage
may also have `check(config, inputs)`, which refuses a configuration before anything runs.
"""
