"""Long lists, a page at a time: ``?limit=``, ``?after=`` the last one, and a ``Link`` to the next.

A list is in an order in which nothing comes in before what was there, so that whoever
follows the links misses nothing and sees nothing twice (keyset paging; RFC 8288).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Response

__all__ = ["LINKED", "PageDep"]

T = TypeVar("T")

USUAL, MOST = 100, 1000

LINKED: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "Link": {
                "description": 'Where more follows: `<?…>; rel="next"`, relative to this request.',
                "schema": {"type": "string"},
            }
        }
    }
}
"""What a route that pages says of its answer."""


class _Page:
    """How much was asked for, and the answer that gets the link."""

    def __init__(
        self,
        response: Response,
        limit: Annotated[
            int, Query(ge=1, le=MOST, description="How many at most in one answer.")
        ] = USUAL,
    ) -> None:
        self._response, self._limit = response, limit

    def of(self, rest: Iterable[T], key: Callable[[T], str | int], **query: str | None) -> list[T]:
        """The next ones of ``rest``; where more follow, the link to these.

        ``key`` is what ``after`` is to be for the last one, ``query`` what else was asked.
        """
        found = list(islice(rest, self._limit + 1))
        if len(found) > self._limit:
            found.pop()
            asked = {name: value for name, value in query.items() if value is not None}
            more = urlencode({**asked, "limit": self._limit, "after": key(found[-1])})
            # Only the query: a proxy in front may have taken something off the path.
            self._response.headers["Link"] = f'<?{more}>; rel="next"'
        return found


PageDep = Annotated[_Page, Depends()]
