"""The trust file: what it pins, and that nothing else passes for it."""

from __future__ import annotations

import json

import msgspec
import pytest

from jupyter_aisec.errors import LedgerError, MalformedError
from jupyter_aisec.ledger import NoteSigner, make_entry, parse_trust, trust_of
from jupyter_aisec.ledger.bodies import EndingConfirmed, Founder, Genesis
from jupyter_aisec.people import SigningKey, canonical

AT = "2026-11-22T20:35:16.250Z"
KEY = SigningKey.generate()
GENESIS = make_entry(
    0,
    AT,
    Genesis(
        origin="example.com/log",
        log_key=NoteSigner("example.com/log", KEY).verifier_key,
        broker_key=KEY.public,
        model_key=SigningKey.generate("p256").public,
        seal_key=b"hpke",
        people=(Founder(name="ada", roles=("admin",), key=KEY.public),),
        policy={},
    ),
    bytes(32),
)
TRUST = trust_of(GENESIS)
TEXT = json.loads(canonical(TRUST))


def test_it_pins_the_genesis() -> None:
    assert TRUST.genesis_sha256 == GENESIS.leaf_hash.hex()
    assert TRUST.origin == "example.com/log"
    assert TRUST.broker_key == KEY.public


def test_it_is_read_however_it_is_laid_out() -> None:
    assert parse_trust(canonical(TRUST)) == TRUST
    assert parse_trust(json.dumps(TEXT, indent=2).encode()) == TRUST


def test_a_ledger_that_begins_otherwise_has_none() -> None:
    other = make_entry(0, AT, EndingConfirmed(grant="g", kernel="k", how="killed"), bytes(32))
    with pytest.raises(LedgerError, match="genesis"):
        trust_of(other)


def test_another_broker_is_not_taken_for_this_one() -> None:
    TRUST.require_same(TRUST)
    other = msgspec.structs.replace(TRUST, genesis_sha256="00", seal_key=b"")
    with pytest.raises(LedgerError, match="genesis_sha256, seal_key") as caught:
        TRUST.require_same(other)
    assert caught.value.code == "broker-changed"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"format": "jupyter-aisec/trust/v2"}, id="another-format"),
        pytest.param({"log_key": "example.com/log+00+AAAA"}, id="log-key"),
        pytest.param({"broker_key": {"kind": "ed25519", "spki": "AAAA"}}, id="broker-key"),
        pytest.param({"extra": 1}, id="unknown-field"),
        pytest.param({"origin": None}, id="no-origin"),
    ],
)
def test_a_malformed_trust_file_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MalformedError):
        parse_trust(json.dumps(TEXT | change).encode())


@pytest.mark.parametrize("data", [b"", b"not json", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_trust(data)
    assert caught.value.code == "trust-malformed"
