from __future__ import annotations

from tests.broker.world import Api, Kernel, Sealed, ok, open_release


def test_the_walk(api: Api, sealed: Sealed, granted: tuple[str, Kernel]) -> None:
    grant, kernel = granted
    answer = ok(api.release(grant, "dataset/digits", kernel))
    keys = open_release(answer, grant, "dataset/digits", kernel)
    assert list(keys.values()) == [sealed.data_key]
