"""`python -m echosweep`: the command line."""

from echosweep.cli import main

main()
