"""Secrets in the operating system's keyring (Secret Service, Keychain, Credential Locker)."""

from __future__ import annotations

import base64
import binascii

import keyring
from keyring.backend import KeyringBackend
from keyring.errors import KeyringError

from jupyter_aisec.errors import KeyStoreError

__all__ = ["KeyringSecrets", "usable_keyring"]

_SERVICE = "jupyter-aisec broker"


def usable_keyring() -> KeyringBackend | None:
    """The system's keyring if it keeps what it is given.

    The null backend accepts everything and drops it, and says so by its priority alone: so a
    backend must claim to be usable *and* give back a value that was just stored.
    """
    backend = keyring.get_keyring()
    try:
        if backend.priority <= 0:
            return None
        backend.set_password(_SERVICE, "probe", "kept")
        kept = backend.get_password(_SERVICE, "probe") == "kept"
        backend.delete_password(_SERVICE, "probe")
    except (KeyringError, RuntimeError):  # locked, or its service went away
        return None
    return backend if kept else None


class KeyringSecrets:
    """One keyring item per secret, named after the key store's id."""

    kind = "keyring"

    def __init__(self, backend: KeyringBackend, store_id: str) -> None:
        self._backend = backend
        self._store_id = store_id

    @property
    def where(self) -> str:
        return f"the operating system's keyring ({self._backend.name})"

    def read(self, name: str) -> bytes | None:
        try:
            text = self._backend.get_password(_SERVICE, f"{self._store_id}/{name}")
            return None if text is None else base64.b64decode(text, validate=True)
        except (KeyringError, binascii.Error) as error:
            raise KeyStoreError(
                f"The keyring does not give the key {name!r} back: {type(error).__name__}.",
                next="Unlock the keyring, then start the broker again.",
                code="key-store-locked",
            ) from error

    def write(self, name: str, secret: bytes) -> None:
        """Stores ``secret``; raises KeyStoreError unless it can be read back."""
        try:
            self._backend.set_password(
                _SERVICE, f"{self._store_id}/{name}", base64.b64encode(secret).decode()
            )
        except KeyringError as error:
            raise KeyStoreError(
                f"The keyring does not take the key {name!r}: {type(error).__name__}.",
                next="Unlock the keyring, then start the broker again.",
                code="key-store-write",
            ) from error
        if self.read(name) != secret:
            raise KeyStoreError(
                f"The keyring took the key {name!r} and lost it.",
                next="Use another keyring backend, or none, so that files are used.",
                code="key-store-lost",
            )
