"""Pipeline stages: one file each, `VERSION` and `run(config, inputs, out, runtime)`."""
