"""Real comparisons of two answers as a task.

formats (one row) -> reader (a file or a hub data set) -> splits (training and held-out) -> corpus (the task's
files)
"""
