"""`python -m overwatt`: the command line."""

from overwatt.workflows.cli.main import main

main()
