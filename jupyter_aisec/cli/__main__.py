"""``python -m jupyter_aisec.cli``: the command without its entry point."""

import sys

from jupyter_aisec.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
