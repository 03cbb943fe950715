"""``python -m personatalk_core <verb>``."""

import sys

from .cli.parser import main

if __name__ == "__main__":
    sys.exit(main())
