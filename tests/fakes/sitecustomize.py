"""With this folder on PYTHONPATH every process, workers too, runs the fake stages."""

import fake_stages

fake_stages.install()
