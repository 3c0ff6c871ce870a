"""``aisec policy``: the rules, before and after they are applied."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from msgspec import UNSET

from jupyter_aisec.cli.countersign import Out, countersign, others_first, send_or_keep
from jupyter_aisec.cli.explain import show_explained
from jupyter_aisec.cli.help import Commands
from jupyter_aisec.cli.output import Json, confirm, emit, safe, say
from jupyter_aisec.client import PersonClient
from jupyter_aisec.client.countersign import prepare_policy
from jupyter_aisec.errors import UsageError
from jupyter_aisec.grants.limits import describe_limits
from jupyter_aisec.grants.names import split_reference
from jupyter_aisec.grants.policy import Policy, describe, parse_policy
from jupyter_aisec.grants.policy_file import render_policy
from jupyter_aisec.times import parse_duration

__all__ = ["app", "read_policy_text"]

app = typer.Typer(help="The rules.", cls=Commands, rich_markup_mode=None)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    json: Json = False,
) -> None:
    """Check a policy file, and say in words what it means. Nothing is applied."""
    policy = parse_policy(read_policy_text(file))
    emit(policy.to_dict(), json, f"{safe(file)} is a policy.\n\n{_explained(policy)}")


@app.command()
def explain(
    artifacts: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]")] = None,
    for_: Annotated[str, typer.Option("--for", help="How long you would ask for.")] = "1h",
    toml: Annotated[
        bool, typer.Option("--toml", help="Print it as a policy file instead, to be edited.")
    ] = False,
    json: Json = False,
) -> None:
    """Say in words what the policy in force means; with NAMEs, if you asked for these."""
    if toml and (artifacts or json):
        raise UsageError(
            "A policy file is the whole policy, and TOML.",
            next="Leave NAMEs and --json away: `aisec policy explain --toml`.",
        )
    client = PersonClient()
    for name in artifacts or ():
        split_reference(name)
    if artifacts:
        seconds = int(parse_duration(for_).total_seconds())
        show_explained(client.explain(artifacts, seconds), json)
        return
    view = client.policy()
    policy = Policy.from_dict(view.policy)
    if toml:
        sys.stdout.write(f"# Policy version {view.version}, as it is in force.\n")
        sys.stdout.write(render_policy(policy))
        return
    emit(view, json, f"Policy version {view.version}.\n\n{_explained(policy)}")


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    out: Out = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Put another policy in force, once as many admins signed as the one in force demands."""
    text = read_policy_text(file)
    explained = _explained(parse_policy(text))
    if not json:
        say(explained)
    confirm("Sign this policy?", yes or json)
    client = PersonClient()
    kept = out or file.with_suffix(".change.json")
    left = send_or_keep(client, prepare_policy(client, text), kept)
    human = "The policy is in force."
    if left:
        human = others_first("The policy is not in force", left, kept, "policy")
    data = {"applied": not left, "signatures_missing": left, "file": str(kept) if left else None}
    emit(data, json, human)


app.command("countersign")(countersign)


def read_policy_text(file: Path) -> str:
    """The text of a policy file; raises UsageError where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(
            f"{file} cannot be read: {why}.",
            next="Name a policy file (TOML). The one in force as a file: "
            "`aisec policy explain --toml > FILE`.",
            code="policy-unreadable",
        ) from error


def _explained(policy: Policy) -> str:
    lines = [
        f"Mode {policy.mode}: " + _MODES[policy.mode],
        f"New artifacts: may seal: {' '.join(policy.sealers) or 'nobody'}",
    ]
    for rule in policy.rule:
        covered = " ".join((*rule.artifacts, *(f"label:{label}" for label in rule.labels)))
        lines.append(f"{covered}: {describe(rule)}")
        if not rule.deny:
            lines.append(f"    may ask: {' '.join(rule.requesters) or 'nobody'}")
    if policy.limits is not UNSET:
        lines.append(describe_limits(policy.limits))
    return "\n".join(safe(line) for line in lines)


_MODES = {
    "enforce": "the rules below decide.",
    "observe": "the rules below are logged, and nothing is refused.",
}
