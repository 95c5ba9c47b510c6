"""`python3 -m sdkit.cli` is the command where its script is not on the path."""

from . import main

main()
