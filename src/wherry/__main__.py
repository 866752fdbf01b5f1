"""`python -m wherry` is the program `wherry`."""

from wherry.cli.main import main

if __name__ == "__main__":
    main()
