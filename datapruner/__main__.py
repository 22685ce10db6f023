"""`python -m datapruner` is the command `datapruner`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
