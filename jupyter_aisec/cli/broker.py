"""``aisec broker``: making, starting and trusting one."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from cryptography.hazmat.primitives import serialization

from jupyter_aisec.cli.help import Commands
from jupyter_aisec.cli.output import Json, confirm, emit, note, safe
from jupyter_aisec.cli.person import as_role
from jupyter_aisec.cli.policy import read_policy_text
from jupyter_aisec.cli.session import say_where_keys_are
from jupyter_aisec.client import Account, Home, PersonClient
from jupyter_aisec.errors import MalformedError, UsageError
from jupyter_aisec.ledger.bodies import Founder, Role
from jupyter_aisec.people.keys import PublicKey, SigningKey

if TYPE_CHECKING:
    from jupyter_aisec.broker.config import Config
    from jupyter_aisec.ledger.trust import Trust

__all__ = ["app"]

app = typer.Typer(help="The broker itself.", cls=Commands, rich_markup_mode=None)
CONFIG = "config.toml"  # in a broker's home: its settings where --config names no other
BrokerHome = Annotated[
    Path | None, typer.Option("--home", help="The broker's folder, not a person's.")
]
PolicyFile = Annotated[Path | None, typer.Option("--policy", help="The policy (TOML).")]


@app.command()
def init(
    admin: Annotated[
        list[str], typer.Option(metavar="NAME=FILE", help="A first admin and their public key.")
    ],
    home: BrokerHome = None,
    role: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=ROLE", help="One more role of a first admin; may repeat."),
    ] = None,
    policy: PolicyFile = None,
    store: Annotated[str | None, typer.Option(help="The URL below which sealed files go.")] = None,
    origin: Annotated[str | None, typer.Option(help="The ledger's name.")] = None,
    json: Json = False,
) -> None:
    """Make a broker: its keys, its policy, its first people. `aisec key enroll` makes theirs."""
    founders = _founders(admin, role or [])
    folder = home or _default_home()
    trust = _create(folder, founders, policy, origin)
    if store is not None:
        _write_config(folder, store)
    names = ", ".join(f"{one.name} ({', '.join(one.roles)})" for one in founders)
    human = (
        f"{trust.origin} is made in {folder}, with {names}.\n"
        f"Start it:  aisec broker start --home {folder}"
    )
    emit({"home": str(folder), "trust": trust, "people": founders}, json, human)


@app.command()
def start(
    home: BrokerHome = None,
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 is a free one.")] = (
        "127.0.0.1:8787"
    ),
    policy: PolicyFile = None,
    config: Annotated[Path | None, typer.Option(help="Settings that are not policy.")] = None,
    json: Json = False,
) -> None:
    """Start a broker, and make it first where there is none, with you as first admin."""
    from jupyter_aisec.broker.genesis import exists
    from jupyter_aisec.broker.server import check_address, run_broker

    folder = home or _default_home()
    settings = _config(folder, config)
    text = None if policy is None else read_policy_text(policy)
    made_by = None
    if not exists(folder):
        check_address(listen)  # a slip in what was typed makes no broker
        made_by = _make_with_caller(folder, policy)

    def announce(url: str, where: str) -> None:
        if made_by is not None:
            made_by.keep_account(msgspec.structs.replace(made_by.account(), broker=url))
        data = {"url": url, "home": str(folder), "pid": os.getpid(), "keys": where}
        emit(data, json, f"The broker runs at {url} (keys in {where}).")

    run_broker(
        folder,
        listen,
        policy=text,
        config=settings,
        announce=announce,
    )


@app.command()
def trust(
    home: Annotated[
        Path | None, typer.Option(help="Read it from a broker's folder, not from the broker.")
    ] = None,
    json: Json = False,
) -> None:
    """Print the trust file: what `aisec verify --trust` starts from. It is JSON either way."""
    if home is not None:
        from jupyter_aisec.broker.trust import trust_file

        sys.stdout.write(trust_file(home).decode())
        return
    emit(PersonClient().trust, True)


@app.command("accept-rollback")
def accept_rollback(
    home: BrokerHome = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Accept that entries are lost for good. Everybody who saw more will notice; tell them."""
    from jupyter_aisec.broker.home import accept_rollback as accept

    folder = home or _default_home()
    confirm(f"Go on without the entries that {folder} has lost?", yes)
    size = accept(folder)
    emit({"home": str(folder), "size": size}, json, f"The ledger goes on from {size} entries.")


# -- making one


def _make_with_caller(folder: Path, policy: Path | None) -> Home:
    """A broker whose only admin is whoever starts it; their home comes back."""
    person = Home()
    if (known := person.trust()) is not None:
        raise UsageError(
            f"There is no broker in {folder}, and {person.folder} trusts another one already: "
            f"{known.origin}.",
            next="Start that one, with its own --home; a new one has a new admin's home: "
            "`export AISEC_HOME=FOLDER`.",
            code="home-trusts-another",
        )
    name = person.account().person or _login_name()
    if not person.has_key():
        person.keep_key(SigningKey.generate())
        say_where_keys_are(person)
    founder = Founder(name=name, roles=("admin",), key=person.key().public)
    made = _create(folder, [founder], policy, None)
    person.keep_account(Account(person=name))
    person.keep_trust(made)
    note(
        f"A new broker, {safe(made.origin)}, with {safe(name)} as its only admin.\n"
        "Nobody can approve yet. Add the second person, from this home "
        f"({safe(person.folder)}):\n"
        "  aisec person add NAME --role approver --role admin\n"
        "You can do this alone; once there are two admins, both sign for each person."
    )
    return person


def _create(
    folder: Path, founders: list[Founder], policy: Path | None, origin: str | None
) -> Trust:
    from jupyter_aisec.broker.genesis import create
    from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT

    text = DEFAULT_POLICY_TEXT if policy is None else read_policy_text(policy)
    return create(folder, founders, text, origin)


def _founders(admins: list[str], roles: list[str]) -> list[Founder]:
    more: dict[str, list[Role]] = {}
    for text in roles:
        name, role = _split(text, "--role NAME=ROLE")
        more.setdefault(name, []).append(as_role(role))
    founders = []
    for text in admins:
        name, file = _split(text, "--admin NAME=FILE")
        named: set[Role] = {"admin", *more.pop(name, [])}
        founders.append(
            Founder(name=name, roles=tuple(sorted(named)), key=_read_public(Path(file)))
        )
    if more:
        raise UsageError(
            f"{', '.join(more)} has a role and is not an admin.",
            next="Name them with --admin NAME=FILE, or add them later: `aisec person add`.",
        )
    return founders


def _split(text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(
            f"{text[:80]!r} is not of the form {form}.", next="See `aisec broker init --help`."
        )
    return name, value


def _read_public(file: Path) -> PublicKey:
    """The public key (PEM) that `aisec key enroll --public-out` wrote."""
    try:
        loaded = serialization.load_pem_public_key(file.read_bytes())
        spki = loaded.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        key = PublicKey(kind="ed25519", spki=spki)
        key.raw()
    except (OSError, ValueError, TypeError, MalformedError) as error:
        raise UsageError(
            f"{file} is not the public key of a person.",
            next=f"Its owner writes it: `aisec key enroll --public-out {shlex.quote(file.name)}`.",
            code="public-key-unreadable",
        ) from error
    return key


# -- settings


def _config(folder: Path, file: Path | None) -> Config:
    from jupyter_aisec.broker.config import Config, load_config

    kept = folder / CONFIG
    if file is None and not kept.exists():
        return Config()
    return load_config(file or kept)


def _write_config(folder: Path, store: str) -> None:
    text = msgspec.json.encode(store).decode()  # a JSON string is a TOML basic string
    (folder / CONFIG).write_text(f"store = {text}\n", encoding="utf-8")


def _default_home() -> Path:
    import platformdirs

    return platformdirs.user_data_path("jupyter-aisec") / "broker"


def _login_name() -> str:
    import getpass

    return getpass.getuser()
