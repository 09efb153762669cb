"""`python -m colorlab` is `colorlab`: for torchrun, and where the command is not on the path."""

import sys

from colorlab.cli import main

if __name__ == "__main__":
    sys.exit(main())
