"""``python -m nonparam.cli`` is the command ``nonparam``."""

from nonparam.cli.app import main

if __name__ == "__main__":
    main()
