"""Places where sealed files may lie, as text. Pure: nothing here opens one.

The catalog's URLs are opened by keepers, clients and verifiers, with the credentials of
whoever runs them, and fsspec reads a great deal into a URL: other file systems chained with
``::``, indexes that point anywhere (``reference:``), any host (``http:``, ``webhdfs:``). So
only object stores and folders are allowed, by plain absolute names.
"""

from __future__ import annotations

import re

from jupyter_aisec.errors import MalformedError

__all__ = ["check_store_url"]

MAX_LENGTH = 2_000  # characters
_SCHEMES = ("file", "s3", "gs", "abfs", "memory")
# A bucket, without userinfo or a port; a file has none, and lies on this machine.
_PLACE = re.compile(rf"(?:file://|(?:{'|'.join(_SCHEMES[1:])})://[A-Za-z0-9][A-Za-z0-9._-]*)?(/.*)")
_FORBIDDEN = frozenset("?#*[]{}\\")  # queries, fragments and patterns


def check_store_url(url: str) -> str:
    """``url`` if sealed files may lie there; raises MalformedError (``url-refused``).

    An absolute path is as good as a ``file:`` URL. fsspec does not decode ``%2e``, so no
    encoding hides a step upwards.
    """
    found = _PLACE.fullmatch(url) if len(url) <= MAX_LENGTH and url.isprintable() else None
    if (
        found is None
        or "::" in url
        or _FORBIDDEN & set(url)
        or {"", ".", ".."} & set(found[1].rstrip("/").split("/")[1:])
    ):
        raise MalformedError(
            f"{url[:140]!r} is not a place where sealed files may lie.",
            next=f"Name an absolute path, or a URL of {', '.join(_SCHEMES[1:4])}: "
            "s3://bucket/folder.",
            code="url-refused",
        )
    return url
