"""``python -m wakelog``."""

import sys

from wakelog.cli import main

if __name__ == "__main__":
    sys.exit(main())
