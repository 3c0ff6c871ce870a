"""Which outputs came before anything was opened and which after, told by their content.

A page copies outputs from cell to cell and from notebook to notebook, joins the pieces of a
stream and makes outputs of things that are none (what ``x?`` shows). What came through this
server is recognised all the same. Only digests are kept, under a secret of this process.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import OrderedDict
from typing import Any

from jupyter_aisec.sealed.messages import unmarked
from jupyter_aisec.server.marks import Mark, union

__all__ = ["Digests", "Streams"]

_MOST = 200_000  # digests of each kind; what is forgotten is not known to be plain
_MOST_REQUESTS = 1_000
_IMAGE = "image/"


class Digests:
    """Remembers outputs by the digest of what they show."""

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self._plain: OrderedDict[bytes, None] = OrderedDict()
        self._marked: OrderedDict[bytes, Mark] = OrderedDict()

    def saw(self, output: dict[str, Any], mark: Mark | None) -> None:
        """``output`` came from a kernel, with a mark or before there was one."""
        self.saw_digest(self.of(output), mark)
        data = output.get("data")
        if mark is not None and isinstance(data, dict):
            for type_, value in data.items():
                if type_.startswith(_IMAGE):
                    self.saw_digest(self._image(value), mark)

    def saw_digest(self, digest: bytes, mark: Mark | None) -> None:
        """As :meth:`saw`, of an output whose digest is known."""
        if mark is None:
            _remember(self._plain, digest, None, _MOST)
        else:
            _remember(self._marked, digest, union(mark, self._marked.get(digest)), _MOST)

    def is_plain(self, output: dict[str, Any]) -> bool:
        """Whether this came out of a kernel in which nothing was open yet."""
        return self.of(output) in self._plain

    def mark_of(self, output: dict[str, Any]) -> Mark | None:
        """The mark with which an output that shows the same came."""
        return self._marked.get(self.of(output))

    def is_marked_image(self, value: object) -> bool:
        """Whether ``value`` (base64, or SVG) is an image that came with a mark."""
        return self._image(value) in self._marked

    def of(self, output: dict[str, Any]) -> bytes:
        """The digest of what ``output`` shows: not of its mark, its count or its line breaks."""
        if output.get("output_type") == "stream":
            stream = self.stream(output.get("name"))
            stream.update(_bytes(_text(output.get("text"))))
            return stream.digest()
        shown = {n: v for n, v in unmarked(output).items() if n not in ("execution_count", "text")}
        if isinstance(shown.get("data"), dict):
            shown["data"] = {
                type_: value if type_.endswith("json") else _text(value)
                for type_, value in shown["data"].items()
            }
        return hashlib.blake2b(_bytes(json.dumps(shown, sort_keys=True)), key=self._secret).digest()

    def stream(self, name: object) -> hashlib.blake2b:
        """A digest of an empty stream, to be updated with its text (UTF-8)."""
        return hashlib.blake2b(_bytes(f"stream {name}\0"), key=self._secret)

    def _image(self, value: object) -> bytes:
        text = "".join(str(_text(value)).split())
        return hashlib.blake2b(_bytes(f"image {text}"), key=self._secret).digest()


class Streams:
    """The pieces of streams, as a page joins them; one for each of its connections."""

    def __init__(self, digests: Digests) -> None:
        self._digests = digests
        self._last: OrderedDict[str, tuple[object, hashlib.blake2b, Mark | None]] = OrderedDict()

    def saw(self, parent: str, output: dict[str, Any], mark: Mark | None) -> None:
        """The next output for the request ``parent``."""
        if output.get("output_type") != "stream":
            self._last.pop(parent, None)
            self._digests.saw(output, mark)
            return
        name, text = output.get("name"), _bytes(_text(output.get("text")))
        # On its own as well: a page that has just cleared the cell starts anew.
        self._digests.saw(output, mark)
        last = self._last.get(parent)
        if last is None or last[0] != name:
            last = (name, self._digests.stream(name), None)
        joined, both = last[1].copy(), union(last[2], mark)
        joined.update(text)
        self._digests.saw_digest(joined.digest(), both)
        _remember(self._last, parent, (name, joined, both), _MOST_REQUESTS)


def _remember(kept: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)


def _text(value: Any) -> Any:
    """Lines of a file (nbformat) as the text they are; anything else as it is."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return value


def _bytes(text: object) -> bytes:
    return str(text).encode("utf-8", "surrogatepass")
