"""`python -m finetuner.cli` is the command line too."""

from finetuner.cli.main import main

main()
