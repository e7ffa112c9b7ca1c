"""``python -m dissect`` is the command line."""

import sys

from dissect.cli import main

if __name__ == "__main__":
    sys.exit(main())
