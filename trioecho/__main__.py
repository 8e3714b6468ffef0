"""``python -m trioecho``: the command line."""

from trioecho.cli.serve import main

if __name__ == "__main__":
    main()
