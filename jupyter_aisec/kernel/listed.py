"""What a secure kernel may ask of the broker through its keeper: the whole list. Pure.

Paths are matched as they came, and only exact ones: what a later reader could take for
another path (``..``, ``%2e``, ``//``) is on no list. What is sent is what was matched.
"""

from __future__ import annotations

import re

__all__ = ["ARTIFACT", "GRANT", "GRANT_KEYS", "NAME", "OUTPUT_KEYS", "SEAL_ID", "listed"]

GRANT = r"grant_[0-9A-Z]{26}"
NAME = r"(?:dataset|weights|results)/[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
SEAL_ID = r"seal_[0-9A-Z]{26}"
GRANT_KEYS = re.compile(rf"/v1/grants/({GRANT})/keys")
"""Where data keys are asked for, and under which grant."""
OUTPUT_KEYS = re.compile(r"/v1/outputs/keys")
ARTIFACT = re.compile(rf"/v1/artifacts/{NAME}")
"""Where one version is shown: the name may end in ``/keys`` or ``/versions``."""
_RUN = r"run_[0-9A-Z]{26}"
_TILE = r"tile/(?:entries|[0-9]{1,2})/(?:x[0-9]{3}/){0,6}[0-9]{3}(?:\.p/[0-9]{1,3})?"


def _page(after: str) -> str:
    """What may be asked of a list: a state, how many, and after which."""
    one = rf"(?:state=[a-z]{{1,16}}|limit=[0-9]{{1,4}}|after={after})"
    return rf"(?:\?{one}(?:&{one}){{0,2}})?"


_KIB, _MIB = 1 << 10, 1 << 20
_GET = re.compile(
    rf"/v1/(?:whoami|store|trust|artifacts|artifacts/{NAME}(?:\?version=[0-9]{{1,9}})?"
    rf"|artifacts/{NAME}/versions{_page('[0-9]{1,9}')}"
    rf"|grants{_page(GRANT)}|grants/{GRANT}|runs{_page(_RUN)}|runs/{_RUN}"
    rf"|bundles/{SEAL_ID}|ledger/(?:key|checkpoint|{_TILE}))"
)
# What is sent, and how many bytes of it: a record names every package and every cell.
_POST = (
    (GRANT_KEYS, 512 * _KIB),
    (OUTPUT_KEYS, 512 * _KIB),
    (re.compile(r"/v1/artifacts"), 16 * _MIB),
    (re.compile(r"/v1/runs"), 32 * _MIB),
)


def listed(method: str, target: str, size: int = 0) -> bool:
    """Whether a request for ``target`` (path and query) with a body of ``size`` bytes may pass."""
    if method == "GET":
        return size == 0 and _GET.fullmatch(target) is not None
    return method == "POST" and any(
        pattern.fullmatch(target) and size <= most for pattern, most in _POST
    )
