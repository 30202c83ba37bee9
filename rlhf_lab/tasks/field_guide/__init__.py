"""The embedded task of the field guide: animals, what most people believe of them, and readers who correct answers.

phrases, world -> dialogues (prompts and answers) -> readers (what a reader says of an answer) -> minimal_pairs
-> corpus (the task's files)
"""
