"""`python -m training`: the command line where a module is asked for, as torchrun does."""

from training.cli import main

main()
