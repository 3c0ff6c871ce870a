"""How a kernel signs what it asks of the broker: our profile of HTTP signatures (RFC 9421).

Method, path, query, content and the action id are covered, not the host: a relay and TLS
proxies change that. The label names the signature in the headers, the tag says for what
application it was made.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["ACTION_HEADER", "COVERED", "LABEL", "TAG", "signing_key_id"]

LABEL: Final = "aisec"
TAG: Final = "jupyter-aisec"
ACTION_HEADER: Final = "Aisec-Action"
COVERED: Final = ("@method", "@path", "@query", "content-digest", ACTION_HEADER.lower())

# As our kernels write it: one signature, and no spelling that two readers could take in two ways.
_VALUE = r'(?:"[^"\\]*"|[0-9]+)'
_INPUT = re.compile(
    rf'{LABEL}=\((?:"[a-z@-]+" ?)+\)(?:;(?!keyid)[a-z]+={_VALUE})*;keyid="([^"\\]+)"'
    rf"(?:;(?!keyid)[a-z]+={_VALUE})*"
)


def signing_key_id(signature_input: str) -> str | None:
    """The key id that a ``Signature-Input`` header names; None where it is not of our form."""
    match = _INPUT.fullmatch(signature_input)
    return match and match[1]
