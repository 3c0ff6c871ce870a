"""One walked ledger for all tests of a process; tests change copies only."""

from __future__ import annotations

import pytest

from tests.provenance.world import Walked, walk


@pytest.fixture(scope="session")
def walked() -> Walked:
    return walk()
