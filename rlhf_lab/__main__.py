"""`python -m rlhf_lab` is `rlhf-lab`."""

from rlhf_lab.commands.lab import main

if __name__ == "__main__":
    main()
