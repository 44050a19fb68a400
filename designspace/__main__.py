"""`python -m designspace` is the command."""

from designspace.cli.main import main

if __name__ == "__main__":
    main()
