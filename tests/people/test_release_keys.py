"""Public HPKE keys that something can be encrypted to, and those that nothing can."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.people.release_keys import MLKEM_SIZE, load_release_key

ML_KEM = mlkem.MLKEM768PrivateKey.generate().public_key().public_bytes_raw()
X25519 = x25519.X25519PrivateKey.generate().public_key().public_bytes_raw()

FAULTS = {
    "nothing": b"",
    "zeros": bytes(1216),
    "a byte too few": ML_KEM + X25519[:-1],
    "a byte too many": ML_KEM + X25519 + b"x",
    "only one half": ML_KEM,
    "a coefficient that is not reduced": b"\xff" * 3 + ML_KEM[3:] + X25519,
    "a point of low order": ML_KEM + bytes(32),
    "another point of low order": ML_KEM + bytes([1]) + bytes(31),
    "the halves in the other order": X25519 + ML_KEM,
}


def test_a_key_of_both_halves_is_read() -> None:
    assert len(ML_KEM) == MLKEM_SIZE
    load_release_key(ML_KEM + X25519)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_key_that_cannot_be_used(fault: str) -> None:
    with pytest.raises(MalformedError) as caught:
        load_release_key(FAULTS[fault])
    assert caught.value.code == "hpke-key-malformed"
