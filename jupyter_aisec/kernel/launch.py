"""What the kernelspec ``aisec`` ("Python 3 (secure)") starts: the keeper of one secure kernel.

::

    python -m jupyter_aisec.kernel.launch -f CONNECTION_FILE
"""

from __future__ import annotations

import sys

from jupyter_aisec.confine.clean_start import start_clean

__all__ = ["main"]


def main() -> int:
    """Starts a secure kernel and stays until it ends; its exit code."""
    # First of all, since what was imported before it is imported twice.
    withheld = start_clean()
    from jupyter_aisec.kernel.secure import run_secure_kernel

    return run_secure_kernel(sys.argv[1:], withheld)


if __name__ == "__main__":
    sys.exit(main())
