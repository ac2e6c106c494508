"""`python -m isheep`: the command where only the interpreter is known, as in a job on another machine."""

from isheep.cli import main

main()
