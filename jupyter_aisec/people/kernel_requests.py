"""How a kernel signs what it asks of the broker: our profile of HTTP signatures (RFC 9421).

Method, path, query, content and the action id are covered, not the host: a relay and TLS
proxies change that. The label names the signature in the headers, the tag says for what
application it was made.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ACTION_HEADER", "COVERED", "LABEL", "TAG"]

LABEL: Final = "aisec"
TAG: Final = "jupyter-aisec"
ACTION_HEADER: Final = "Aisec-Action"
COVERED: Final = ("@method", "@path", "@query", "content-digest", ACTION_HEADER.lower())
