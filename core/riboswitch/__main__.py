"""`python -m riboswitch`."""

import sys

from riboswitch.cli import main

if __name__ == "__main__":
    sys.exit(main())
