"""`python -m sememe.cli`."""

from sememe.cli import main

main()
