"""Named secrets of one home: in the OS keyring, or in files where there is none.

A keyring counts only if its priority is above zero and it gives back what it was given:
keyring's *null* backend accepts everything and drops it. The first secret decides which of the
two a home uses, and a file beside the folder remembers it, so that a keyring that is locked or
away later is an error and never a silent change.
"""

from __future__ import annotations

import base64
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from jupyter_aisec.errors import KeyStoreError, MalformedError
from jupyter_aisec.files import make_private_folder, read_if_there, write_private
from jupyter_aisec.ids import new_id

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

__all__ = ["FileSecrets", "KeyringSecrets", "Kind", "Secrets"]

Kind = Literal["keyring", "file"]
# keyring's own switch, for whoever wants files although there is a keyring.
_USE_FILES = "A new home keeps files with PYTHON_KEYRING_BACKEND=keyring.backends.null.Keyring."


class _Place(Protocol):
    @property
    def kind(self) -> Kind: ...

    @property
    def where(self) -> str: ...

    def read(self, name: str) -> bytes | None: ...

    def write(self, name: str, secret: bytes) -> None: ...

    def delete(self, name: str) -> None: ...


class _Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which place a home's secrets are in; ``service`` is their name in a keyring."""

    kind: Kind
    service: str


class Secrets:
    """The secrets that belong to ``folder``: files in it, or items of the keyring.

    Every method raises KeyStoreError where the place does not do what it should.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._choice = folder.with_name(f"{folder.name}.json")
        self._decided: _Place | None = None

    @property
    def kind(self) -> Kind:
        """Where the secrets are, or the first one would be."""
        return (self._find() or self._place(self._proposed())).kind

    @property
    def where(self) -> str:
        """The same in words, for people."""
        return (self._find() or self._place(self._proposed())).where

    def read(self, name: str) -> bytes | None:
        place = self._find()
        return None if place is None else place.read(name)

    def write(self, name: str, secret: bytes) -> None:
        (self._find() or self._decide()).write(name, secret)

    def delete(self, name: str) -> None:
        place = self._find()
        if place is not None:
            place.delete(name)

    def _find(self) -> _Place | None:
        """The place that was decided on, if it was."""
        if self._decided is None:
            try:
                stored = read_if_there(self._choice)
            except OSError as error:
                raise KeyStoreError(
                    f"{self._choice} cannot be read: {error.strerror}.",
                    next=_another_home("Give the right to read it"),
                    code="secret-unreadable",
                ) from error
            if stored is not None:
                self._decided = self._place(_read_choice(stored, self._choice))
        return self._decided

    def _decide(self) -> _Place:
        choice = self._proposed()
        try:
            if not self._choice.parent.is_dir():
                make_private_folder(self._choice.parent)
            write_private(self._choice, msgspec.json.encode(choice) + b"\n")
        except OSError as error:
            raise _unwritable(self._choice, error) from error
        self._decided = self._place(choice)
        return self._decided

    def _proposed(self) -> _Choice:
        backend = _system_keyring()
        kind: Kind = "keyring" if backend is not None and _keeps(backend) else "file"
        return _Choice(kind=kind, service=f"jupyter-aisec {self._folder} {new_id('secrets')}")

    def _place(self, choice: _Choice) -> _Place:
        if choice.kind == "file":
            return FileSecrets(self._folder)
        backend = _system_keyring()
        if backend is None:
            raise KeyStoreError(
                f"The keys of {self._folder.parent} are in the operating system's keyring, "
                "which is not there.",
                next="Log in to the session that has the keyring, or unlock it.",
                code="keyring-missing",
            )
        return KeyringSecrets(backend, choice.service)


class FileSecrets:
    """One file of mode 0600 per secret, in a folder of mode 0700."""

    kind: Kind = "file"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def where(self) -> str:
        return f"files that only this account may read, in {self._folder}"

    def read(self, name: str) -> bytes | None:
        """The secret, or None; raises KeyStoreError if other accounts could have read it too."""
        path = self._folder / name
        try:
            with open(path, "rb", opener=_opened_in_place) as file:
                mode = os.fstat(file.fileno()).st_mode & 0o777
                if mode & 0o077:
                    raise KeyStoreError(
                        f"The secret {path} can be read by other accounts (mode {mode:04o}).",
                        next=f"Close it: `chmod 600 {shlex.quote(str(path))}`. If somebody may "
                        "have read it, an admin revokes the key.",
                        code="secret-readable",
                    )
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KeyStoreError(
                f"The secret {path} cannot be read: {error.strerror}.",
                next=_another_home("Put the file back as it was"),
                code="secret-unreadable",
            ) from error

    def write(self, name: str, secret: bytes) -> None:
        try:
            make_private_folder(self._folder)
            write_private(self._folder / name, secret)
        except OSError as error:
            raise _unwritable(self._folder, error) from error

    def delete(self, name: str) -> None:
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self._folder / name, error) from error


class KeyringSecrets:
    """Items of the OS keyring, under a service name of this home's own."""

    kind: Kind = "keyring"

    def __init__(self, backend: KeyringBackend, service: str) -> None:
        self._backend = backend
        self._service = service

    @property
    def where(self) -> str:
        return f"the operating system's keyring ({self._backend.name})"

    def read(self, name: str) -> bytes | None:
        found: bytes | None = self._call("read", self._get, name)
        return found

    def write(self, name: str, secret: bytes) -> None:
        """Stores ``secret``; raises KeyStoreError unless it can be read back."""
        text = base64.b64encode(secret).decode()
        self._call("write", self._backend.set_password, self._service, name, text)
        if self.read(name) != secret:
            raise KeyStoreError(
                f"The operating system's keyring took the secret {name!r} and lost it.",
                next=_USE_FILES,
                code="keyring-drops",
            )

    def delete(self, name: str) -> None:
        if self.read(name) is not None:
            self._call("delete from", self._backend.delete_password, self._service, name)

    def _get(self, name: str) -> bytes | None:
        text = self._backend.get_password(self._service, name)
        return None if text is None else base64.b64decode(text, validate=True)

    def _call(self, verb: str, function: Any, *arguments: str) -> Any:
        try:
            return function(*arguments)
        except Exception as error:  # every backend raises errors of its own
            raise KeyStoreError(
                f"Could not {verb} the operating system's keyring ({type(error).__name__}).",
                next=f"Unlock it. {_USE_FILES}",
                code="keyring-failed",
            ) from None  # a backend's error may quote the secret


def _system_keyring() -> KeyringBackend | None:
    import keyring

    try:
        backend = keyring.get_keyring()
        return backend if backend.priority > 0 else None
    except Exception:  # no session bus, a broken setting: each backend raises its own
        return None


def _keeps(backend: KeyringBackend) -> bool:
    """Whether the keyring gives back what it is given."""
    probe = new_id("probe")
    try:
        backend.set_password("jupyter-aisec", probe, probe)
        kept = backend.get_password("jupyter-aisec", probe) == probe
        if kept:
            backend.delete_password("jupyter-aisec", probe)
    except Exception:  # locked, or its service went away: each backend raises its own
        return False
    return kept


def _read_choice(stored: bytes, path: Path) -> _Choice:
    try:
        return msgspec.json.decode(stored, type=_Choice)
    except msgspec.DecodeError as error:
        raise MalformedError(
            f"{path} cannot be read: {error}.",
            next="Take it from a backup: it says where this home's keys are.",
        ) from error


def _unwritable(path: Path, error: OSError) -> KeyStoreError:
    return KeyStoreError(
        f"{path} cannot be written: {error.strerror}.",
        next=_another_home("Make room there, or give the right to write"),
        code="secret-unwritable",
    )


def _opened_in_place(path: str, flags: int) -> int:
    """For ``open``: a link leads elsewhere, and is refused."""
    return os.open(path, flags | os.O_NOFOLLOW)


def _another_home(first: str) -> str:
    return f"{first}; or take another home: `export AISEC_HOME=FOLDER`."
