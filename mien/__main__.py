"""``python -m mien`` is the command ``mien``."""

from mien.cli.start import main

if __name__ == "__main__":
    main()
