"""What counts as opened by a kernel: labels and inputs flow from all of it. Pure.

1. What is released to a kernel counts for it, for as long as the ledger lasts.
2. A seat is one notebook session. A kernel that takes it while an earlier one of that seat was
   not confirmed gone may be the same process with other keys: from then on whatever either has
   opened, or opens, counts for both.
3. A kernel is gone once its ending is confirmed for every grant whose seat it took. What a later
   kernel opens does not count for it, nor its own for a later one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["Flow"]

T = TypeVar("T")


class Flow(Generic[T]):
    """Follows bindings, releases and endings, in the order of a ledger.

    Kernels go by their key ids; a ``seat`` is a person's and no other's, so it is given with
    the person; ``T`` stands for a release.
    """

    def __init__(self) -> None:
        self._counted: defaultdict[str, dict[T, None]] = defaultdict(dict)
        self._kin: defaultdict[str, set[str]] = defaultdict(set)
        self._seats: defaultdict[str, dict[tuple[str, str], None]] = defaultdict(dict)
        self._grants: defaultdict[str, set[str]] = defaultdict(set)  # not confirmed over
        self._there: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)

    def bound(self, kernel: str, grant: str, person: str, seat: str) -> None:
        """The kernel took the seat under that grant."""
        self._seats[kernel][person, seat] = None
        self._grants[kernel].add(grant)
        for place in self._seats[kernel]:
            self._there[place][kernel] = None
        together = self._together(kernel)
        everything = {one: None for other in together for one in self._counted[other]}
        kin = set(together).union(*(self._kin[other] for other in together))
        for other in together:
            self._counted[other].update(everything)
            self._kin[other] |= kin

    def released(self, kernel: str, releases: Iterable[T]) -> None:
        """The kernel opened these."""
        news = dict.fromkeys(releases)
        for other in self._together(kernel):
            self._counted[other].update(news)

    def confirmed(self, kernel: str, grant: str) -> None:
        """Nothing is left in the kernel of what that grant opened; it may hold other seats."""
        self._grants[kernel].discard(grant)
        if not self._grants[kernel]:
            for place in self._seats[kernel]:
                self._there[place].pop(kernel, None)

    def counted(self, kernel: str) -> tuple[T, ...]:
        """What counts as opened by the kernel, in the order in which it came to."""
        return tuple(self._counted.get(kernel, ()))

    def kin(self, kernel: str) -> frozenset[str]:
        """The kernels by whose bindings, releases and endings that came about, itself included."""
        return frozenset((kernel, *self._kin.get(kernel, ())))

    def _together(self, kernel: str) -> tuple[str, ...]:
        """The kernels that may be one process with this one now, itself included."""
        there = [self._there[place] for place in self._seats[kernel]]
        return tuple(dict.fromkeys([kernel, *(one for at in there if kernel in at for one in at)]))
