"""``aisec doctor``: what this machine has, what is missing, and what to do about it."""

from __future__ import annotations

import os
import platform
import stat
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec
import typer

from jupyter_aisec.cli import isolation
from jupyter_aisec.cli.output import Json, emit, table
from jupyter_aisec.client import Home, PersonClient
from jupyter_aisec.errors import AisecError

__all__ = ["doctor"]

PARTS = ("jupyter-aisec", "cryptography", "ipykernel", "jupyterlab", "fastapi", "pyarrow", "torch")
_SWAPS = Path("/proc/swaps")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. ``warn`` works, but less well than it could."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    next: str = ""


def doctor(json: Json = False) -> None:
    """Look at this installation: broker, home, keys, isolation, swap, versions."""
    home = Home()
    findings = [
        *_home(home),
        *_broker(home),
        *_isolation(),
        *_swap(_SWAPS),
        *_versions(),
    ]
    rows = ((one.state, one.name, one.detail, one.next) for one in findings)
    emit(findings, json, table(("", "WHAT", "FOUND", "NEXT"), rows))
    if any(one.state == "fail" for one in findings):
        raise typer.Exit(1)


def _home(home: Home) -> Iterator[Finding]:
    if os.path.lexists(home.folder) and not home.folder.is_dir():
        yield Finding(
            name="home",
            state="fail",
            detail=f"{home.folder} is not a folder",
            next="Take a folder of your own: `export AISEC_HOME=FOLDER`.",
        )
        return
    if not home.folder.is_dir():
        yield Finding(
            name="home",
            state="warn",
            detail=f"{home.folder} does not exist yet",
            next="`aisec login --token …` makes it.",
        )
        return
    mode = stat.S_IMODE(home.folder.stat().st_mode)
    if mode & 0o077:
        yield Finding(
            name="home",
            state="fail",
            detail=f"{home.folder} is open to other accounts (mode {mode:04o})",
            next=f"chmod 700 {home.folder}",
        )
    else:
        yield Finding(name="home", state="ok", detail=str(home.folder))
    try:
        key = home.key().public.key_id
    except AisecError as error:
        yield Finding(name="signing key", state="warn", detail=error.what, next=error.next)
        return
    in_file = home.secrets_kind == "file"
    yield Finding(
        name="signing key",
        state="warn" if in_file else "ok",
        detail=f"{key[:19]}… in {'a file of mode 0600' if in_file else 'the OS keyring'}",
        next="An OS keyring would protect it better." if in_file else "",
    )


def _broker(home: Home) -> Iterator[Finding]:
    try:
        client = PersonClient(home=home)
        origin = client.trust.origin
    except AisecError as error:
        yield Finding(name="broker", state="fail", detail=error.what, next=error.next)
        return
    yield _transport(client.http.url, origin)
    try:
        who = client.whoami()
        checkpoint = client.checkpoint()
    except AisecError as error:
        yield Finding(name="log-in", state="warn", detail=error.what, next=error.next)
        return
    yield Finding(name="log-in", state="ok", detail=f"{who.person} ({', '.join(who.roles)})")
    yield Finding(
        name="ledger",
        state="ok",
        detail=f"{checkpoint.size} entries, a continuation of what was seen before",
    )


def _transport(url: str, origin: str) -> Finding:
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        return Finding(
            name="broker",
            state="warn",
            detail=f"{url} is not encrypted on its way",
            next="Put TLS in front of it and use https.",
        )
    return Finding(name="broker", state="ok", detail=f"{origin} at {url}")


def _isolation() -> Iterator[Finding]:
    try:
        level = isolation.probe()
    except AisecError as error:
        yield Finding(name="isolation", state="warn", detail=error.what, next=error.next)
        return
    yield Finding(
        name="isolation",
        state="ok" if level.name == "full" else "warn",
        detail=str(level),
        next="" if level.name == "full" else "Grants that demand more cannot be used here.",
    )


def _swap(swaps: Path) -> Iterator[Finding]:
    """Swap is where memory can reach a disk; only Linux says so in a file."""
    try:
        areas = [line.split()[0] for line in swaps.read_text().splitlines()[1:]]
    except OSError:
        yield Finding(name="swap", state="warn", detail="this system does not say")
        return
    if areas:
        yield Finding(
            name="swap",
            state="warn",
            detail=f"on: {', '.join(areas)}; opened data can reach the disk through it",
            next="`swapoff -a`, or encrypted swap.",
        )
    else:
        yield Finding(name="swap", state="ok", detail="off")


def _versions() -> Iterator[Finding]:
    found = [f"Python {platform.python_version()}"]
    for part in PARTS:
        try:
            found.append(f"{part} {metadata.version(part)}")
        except metadata.PackageNotFoundError:
            found.append(f"no {part}")
    yield Finding(name="versions", state="ok", detail=", ".join(found))
