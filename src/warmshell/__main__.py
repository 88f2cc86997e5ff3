"""``python -m warmshell``: the same as ``warm``."""

from warmshell.cli import main

if __name__ == "__main__":
    main()
