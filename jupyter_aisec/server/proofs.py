"""What this server's pages were given, told from what somebody else wrote: by an HMAC.

The key lies in the person's home, which no secure kernel sees, so that a page that outlives a
server may still save what it shows.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Callable
from functools import cached_property

from jupyter_aisec.errors import KeyStoreError

__all__ = ["Proofs"]

_log = logging.getLogger(__name__)
_PURPOSE = b"jupyter-aisec mark in a notebook\0"


class Proofs:
    """Makes and checks proofs (HMAC-SHA-256 under the key that ``read_key`` gives).

    The key is asked for when it is first needed. Where the home cannot keep one, a key of this
    process does: after a restart its proofs prove nothing, and such outputs are not saved.
    """

    def __init__(self, read_key: Callable[[], bytes]) -> None:
        self._read_key = read_key

    @cached_property
    def _key(self) -> bytes:
        try:
            return self._read_key()
        except KeyStoreError as error:
            _log.warning("jupyter_aisec: marks in pages end with this server. %s", error)
            return os.urandom(32)

    def of(self, said: bytes) -> bytes:
        """The proof of what is said."""
        return hmac.digest(self._key, _PURPOSE + said, "sha256")

    def proves(self, said: bytes, proof: bytes) -> bool:
        """Whether ``proof`` is the one of what is said."""
        return hmac.compare_digest(self.of(said), proof)
