"""A home of the time before column digests were keyed: it goes on, and vouches for no edit."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from jupyter_aisec.broker.config import Config
from jupyter_aisec.broker.home import audit_home
from jupyter_aisec.broker.service import open_broker
from jupyter_aisec.broker.store import snapshot_of
from jupyter_aisec.errors import TamperedError
from tests.broker.tampering import changed, database
from tests.broker.world import Recorded, Site, ok


def unkeyed(row: tuple[Any, ...]) -> bytes:
    idx, *values, _ = row
    data = [one.encode() if isinstance(one, str) else one for one in values]
    return b"".join(hashlib.sha256(idx.to_bytes(8, "big") + one).digest() for one in data)


@pytest.fixture
def old(recorded: Recorded) -> Recorded:
    """The home with its tables as version 0001 had them."""
    make_old(recorded.site)
    return recorded


def make_old(site: Site) -> None:
    with database(site.database) as connection:
        for row in connection.execute("SELECT * FROM entries").fetchall():
            update = "UPDATE entries SET digests = ? WHERE idx = ?"
            connection.execute(update, (unkeyed(row), row[0]))
        connection.execute("UPDATE alembic_version SET version_num = '0001'")


def test_an_auditor_is_told_that_it_is_old_and_nothing_else(old: Recorded) -> None:
    (finding,) = audit_home(old.site.home)
    assert (finding.table, finding.column) == ("alembic_version", "version_num")
    assert "`aisec broker start` brings them up to date" in finding.what


def test_the_broker_brings_it_up_to_date_and_goes_on(old: Recorded) -> None:
    with old.serve() as api:
        ok(api.release(old.grant, "dataset/digits", old.kernel))
    assert audit_home(old.site.home) == []
    sizes = {len(row[-1]) for row in snapshot_of(old.site.database)["entries"]}
    assert sizes == {96}


def test_an_edit_with_digests_to_match_is_not_vouched_for(recorded: Recorded) -> None:
    """Anybody could make the old ones: so the signed root is asked first."""
    with database(recorded.site.database) as connection:
        query = "SELECT body FROM entries WHERE idx = 3"
        body = changed(connection.execute(query).fetchone()[0])
        connection.execute("UPDATE entries SET body = ? WHERE idx = 3", (body,))
    make_old(recorded.site)
    before = snapshot_of(recorded.site.database)
    with pytest.raises(TamperedError, match="signed root"):
        open_broker(recorded.site.home, Config())
    assert snapshot_of(recorded.site.database) == before


def test_a_digest_that_is_none_of_the_old_ones_is_named(old: Recorded) -> None:
    with database(old.site.database) as connection:
        connection.execute("UPDATE entries SET digests = x'00' WHERE idx = 3")
    with pytest.raises(TamperedError, match="entries row 3 column digests"):
        open_broker(old.site.home, Config())
    assert snapshot_of(old.site.database)["alembic_version"] == [("0001",)]
