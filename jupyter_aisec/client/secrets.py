"""Where one home's secrets lie: the OS keyring, or files of mode 0600 where there is none.

A keyring counts only if its priority is above zero and it gives back what it was given:
keyring's *null* backend accepts everything and drops it. Which of the two is used is decided
once per home, when its first secret is written, and can be asked (:attr:`Secrets.kind`), so
that the faces can say aloud when a key is kept in a file.
"""

from __future__ import annotations

import base64
import os
import secrets as _secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from jupyter_aisec.errors import KeyStoreError
from jupyter_aisec.sealed.replaced import replaced

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

__all__ = ["FileSecrets", "KeyringSecrets", "Secrets", "choose_secrets", "write_private"]

# keyring's own switch, for whoever wants files although there is a keyring.
_USE_FILES = "Set PYTHON_KEYRING_BACKEND=keyring.backends.null.Keyring to keep secrets in files."


class Secrets(Protocol):
    """A place for a few named secrets."""

    @property
    def kind(self) -> Literal["keyring", "file"]: ...

    def read(self, name: str) -> bytes | None: ...

    def write(self, name: str, value: bytes) -> None: ...

    def delete(self, name: str) -> None: ...


class FileSecrets:
    """Files of mode 0600 in one folder of mode 0700."""

    kind: Literal["keyring", "file"] = "file"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, name: str) -> bytes | None:
        path = self.folder / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KeyStoreError(f"The secret {path} cannot be read: {error.strerror}.") from error
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode & 0o777
            if mode & 0o077:
                raise KeyStoreError(
                    f"The secret {path} can be read by other accounts (mode {mode:04o}).",
                    next=f"Close it: `chmod 600 {path}`. If somebody may have read it, "
                    "an admin revokes the key.",
                    code="secret-readable",
                )
            return file.read()

    def write(self, name: str, value: bytes) -> None:
        write_private(self.folder / name, value)

    def delete(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)


class KeyringSecrets:
    """The OS keyring, under one service name per home."""

    kind: Literal["keyring", "file"] = "keyring"

    def __init__(self, backend: KeyringBackend, service: str) -> None:
        self._backend = backend
        self._service = service

    def read(self, name: str) -> bytes | None:
        text = self._call("read", self._backend.get_password, self._service, name)
        return None if text is None else base64.b64decode(text)

    def write(self, name: str, value: bytes) -> None:
        text = base64.b64encode(value).decode()
        self._call("write", self._backend.set_password, self._service, name, text)
        if self.read(name) != value:
            raise KeyStoreError(
                f"The OS keyring took the secret {name!r} but does not give it back.",
                next=_USE_FILES,
                code="keyring-drops",
            )

    def delete(self, name: str) -> None:
        if self.read(name) is not None:
            self._call("delete from", self._backend.delete_password, self._service, name)

    def _call(self, verb: str, function: Any, *arguments: str) -> Any:
        try:
            return function(*arguments)
        except Exception as error:  # every backend raises errors of its own
            raise KeyStoreError(
                f"Could not {verb} the OS keyring ({type(error).__name__}).",
                next=f"Unlock it. {_USE_FILES}",
                code="keyring-failed",
            ) from None  # a backend's error may quote the secret


def choose_secrets(folder: Path) -> Secrets:
    """The keyring if it keeps what it is given and this home has no secrets in files yet."""
    files = FileSecrets(folder)
    if folder.is_dir() and any(folder.iterdir()):
        return files
    backend = _working_keyring()
    if backend is None:
        return files
    return KeyringSecrets(backend, f"jupyter-aisec {folder.parent}")


def _working_keyring() -> KeyringBackend | None:
    import keyring

    probe = f"probe-{_secrets.token_hex(8)}"
    try:
        backend = keyring.get_keyring()
        if backend.priority <= 0:
            return None
        backend.set_password("jupyter-aisec", probe, probe)
        kept = backend.get_password("jupyter-aisec", probe) == probe
        if kept:
            backend.delete_password("jupyter-aisec", probe)
    except Exception:  # no backend, a locked one, no session bus: each raises its own
        return None
    return backend if kept else None


def write_private(path: Path, value: bytes) -> None:
    """Replace ``path`` by a file of mode 0600 with that content, whole or not at all."""
    try:
        _make_private(path.parent)
        with replaced(path, mode=0o600) as file:
            file.write(value)
    except OSError as error:
        raise KeyStoreError(
            f"{path} cannot be written: {error.strerror}.",
            next="Take a folder of your own that can be written: `export AISEC_HOME=FOLDER`.",
            code="home-unwritable",
        ) from error


def _make_private(folder: Path) -> None:
    """``folder`` and what is missing above it, each 0700 (``parents=True`` would not)."""
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
