"""How long the long searches look: a bounded share in `make test`, all of it in `make campaign`.

``AISEC_CAMPAIGN`` multiplies the number of random examples, and opens the full tables of
crash points.
"""

from __future__ import annotations

import os

FACTOR = int(os.environ.get("AISEC_CAMPAIGN", "1"))
CAMPAIGN = FACTOR > 1


def examples(number: int) -> int:
    """How many random examples a property test tries."""
    return number * FACTOR
