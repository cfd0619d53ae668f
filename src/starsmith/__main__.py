"""`python -m starsmith` is `starsmith`."""

import sys

from starsmith.cli import main

if __name__ == "__main__":
    sys.exit(main())
