"""A person's home (``AISEC_HOME``): who they are, their signing key, session and pins.

::

    account.json     name and broker
    trust.json       the broker's trust file, pinned at the first contact
    checkpoint       the last ledger checkpoint seen, as signed
    page-key         by which this person's Jupyter servers know what they gave to a page (0600)
    secrets/         signing key and session token (0600), unless the OS keyring keeps them
    secrets.json     which of the two

The folder is 0700. Nothing here speaks to a broker.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TypeVar

import msgspec

from jupyter_aisec.errors import IdentityError, KeyStoreError, MalformedError, UsageError
from jupyter_aisec.files import make_private_folder, read_if_there, write_private
from jupyter_aisec.ledger.trust import Trust, parse_trust
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.secrets import Kind, Secrets

__all__ = ["DEFAULT_BROKER", "Account", "Home", "Session", "take_token"]

DEFAULT_BROKER = "http://127.0.0.1:8787"
_KEY = "signing-key"
_SESSION = "session"
_PAGE_KEY = "page-key"
_PAGE_KEY_SIZE = 32  # bytes
T = TypeVar("T")


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose home this is: a person at a broker (either may not be known yet)."""

    person: str | None = None
    broker: str | None = None


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An open session: the bearer token, never shown, and when it ends (RFC 3339)."""

    token: str
    expires: str
    person: str

    def __repr__(self) -> str:
        return f"<Session of {self.person} until {self.expires}>"


class Home:
    """One person's state on this machine."""

    def __init__(self, folder: Path | str | None = None) -> None:
        """The home in ``folder``; by default ``AISEC_HOME`` or the platform's data folder."""
        self.folder = Path(folder or os.environ.get("AISEC_HOME") or _default()).absolute()
        self._secrets = Secrets(self.folder / "secrets")

    def __repr__(self) -> str:
        return f"<Home {self.folder}>"

    @property
    def secrets_kind(self) -> Kind:
        """Where the secrets of this home are kept."""
        return self._secrets.kind

    # -- who

    def account(self) -> Account:
        data = self._read("account.json")
        return Account() if data is None else _decode(data, Account, "account.json")

    def keep_account(self, account: Account) -> None:
        self._write("account.json", msgspec.json.format(msgspec.json.encode(account)))

    def broker(self) -> str:
        """The broker's URL: ``AISEC_BROKER``, else the one logged in to, else the default."""
        return os.environ.get("AISEC_BROKER") or self.account().broker or DEFAULT_BROKER

    # -- the signing key

    def has_key(self) -> bool:
        return self._secrets.read(_KEY) is not None

    def key(self) -> SigningKey:
        """The person's signing key; raises IdentityError where there is none."""
        data = self._secrets.read(_KEY)
        if data is None:
            raise self._no_key()
        return SigningKey.from_bytes(data)

    def _no_key(self) -> IdentityError:
        """A token enrols a first key only: whoever had one needs others to vouch for the next."""
        person = self.account().person
        if person is None:
            what = f"There is no signing key in {self.folder}."
            next = "Log in with the token an admin gave you: `aisec login --token TOKEN`."
        else:
            what = f"The signing key of {person} is no longer in {self.folder}."
            next = (
                f"Make another: `aisec key enroll --as {shlex.quote(person)} --out FILE`. "
                "Two admins sign it, or you in a home with an older key, "
                "`aisec key countersign FILE`, and you log in: `aisec login`."
            )
        return IdentityError(what, next=next, code="no-key")

    def keep_key(self, key: SigningKey) -> None:
        self._secrets.write(_KEY, key.to_bytes())

    # -- the session

    def session(self) -> Session | None:
        data = self._secrets.read(_SESSION)
        return None if data is None else _decode(data, Session, "the session")

    def keep_session(self, session: Session | None) -> None:
        if session is None:
            self._secrets.delete(_SESSION)
        else:
            self._secrets.write(_SESSION, msgspec.json.encode(session))

    # -- what is pinned

    def trust(self) -> Trust | None:
        data = self._read("trust.json")
        return None if data is None else parse_trust(data)

    def keep_trust(self, trust: Trust) -> None:
        self._write("trust.json", msgspec.json.format(msgspec.json.encode(trust)) + b"\n")

    def checkpoint(self) -> str | None:
        """The last signed ledger checkpoint seen from this home."""
        data = self._read("checkpoint")
        return None if data is None else data.decode()

    def keep_checkpoint(self, note: str) -> None:
        self._write("checkpoint", note.encode())

    # -- what a Jupyter server of this person gave to a page

    def page_key(self) -> bytes:
        """32 bytes that nobody else knows, made when first asked for; raises KeyStoreError."""
        key = self._read(_PAGE_KEY) or b""
        if len(key) != _PAGE_KEY_SIZE:
            key = os.urandom(_PAGE_KEY_SIZE)
            self._write(_PAGE_KEY, key)
            key = self._read(_PAGE_KEY) or key  # another server may have been as quick
        return key

    # -- files

    def _read(self, name: str) -> bytes | None:
        try:
            return read_if_there(self.folder / name)
        except OSError as error:
            raise KeyStoreError(
                f"{self.folder / name} cannot be read: {error.strerror}.",
                next="Take a folder of your own: `export AISEC_HOME=FOLDER`.",
                code="home-unreadable",
            ) from error

    def _write(self, name: str, data: bytes) -> None:
        try:
            if not self.folder.is_dir():
                make_private_folder(self.folder)
            write_private(self.folder / name, data)
        except OSError as error:
            raise KeyStoreError(
                f"{self.folder / name} cannot be written: {error.strerror}.",
                next="Take a folder of your own that can be written: `export AISEC_HOME=FOLDER`.",
                code="home-unwritable",
            ) from error


def take_token() -> str | None:
    """``AISEC_TOKEN``, removed from the environment so that no child inherits it.

    Raises UsageError for what no header can carry: a line end, or letters of other scripts.
    """
    token = os.environ.pop("AISEC_TOKEN", None) or None
    if token is not None and not (token.isascii() and token.isprintable()):
        raise UsageError(
            "AISEC_TOKEN is not a session token.",
            next="Sign in again: `unset AISEC_TOKEN; aisec login`.",
            code="token-malformed",
        )
    return token


def _default() -> Path:
    import platformdirs

    return platformdirs.user_data_path("jupyter-aisec")


def _decode(data: bytes, type_: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedError(
            f"{what} in this AISEC_HOME cannot be read.", next="Log in again: `aisec login`."
        ) from error
