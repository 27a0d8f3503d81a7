"""`python -m diptych`."""

from diptych.cli.app import main

main()
