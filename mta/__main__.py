"""`python -m mta` is `posthouse`."""

from mta.cli import main

main()
