"""The admins' rules: who may ask for what, who must approve, how long, in what kernel.

A policy is written as TOML by people, and logged in its canonical form (durations in
seconds), which :meth:`Policy.to_dict` and :meth:`Policy.from_dict` carry both ways.
Nothing is guessed: an unknown key, a missing one and a rule that could never be met are
errors that name the line and the rule.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

import msgspec
from msgspec import UNSET, UnsetType

from jupyter_aisec.errors import MalformedError, UsageError
from jupyter_aisec.grants.limits import Limits, parse_limits
from jupyter_aisec.ledger.bodies import Isolation
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.people.directory import Role
from jupyter_aisec.times import format_duration, parse_duration

__all__ = [
    "DEFAULT_POLICY_TEXT",
    "ISOLATION",
    "MAX_POLICY",
    "Policy",
    "Rule",
    "parse_policy",
]

ISOLATION: tuple[Isolation, ...] = ("none", "partial", "full")  # from least to most

DEFAULT_POLICY_TEXT = """\
mode = "enforce"              # or "observe": decide and log, refuse nothing
pending_for = "24h"           # an unanswered request lapses after this
begin_within = "24h"          # an approved grant that nobody begins expires after this
admins_for_policy = 2         # admins that must sign a change of this policy
admins_for_people = 2         # admins that must sign an invitation; all, while there are fewer
sealers = ["role:researcher", "role:approver", "role:admin"]   # who may seal a new name

[[rule]]
name = "one other person"
artifacts = ["weights/*", "dataset/*", "results/*"]
requesters = ["role:researcher"]      # "role:…" or "person:…"; empty = nobody
approvers = ["role:approver"]
approvals = 1
longest = "4h"
isolation = "none"            # least isolation level: none | partial | full
# break_glass = "15m"         # open first, at most so long, and be reviewed after; left out: never

# [limits]                    # of each person, in any hour; reaching one is refused, and an alert
# grants = 20                 # requests made
# artifacts = 50              # versions opened, themselves or in saved outputs, each once
# bytes = "100GB"             # sealed bytes of those versions
"""

_PRINCIPAL = re.compile(rf"role:(?:{'|'.join(get_args(Role))})|person:\S{{1,64}}")
_PATTERN = re.compile(r"[\w.*?\[\]!-]+(?:/[\w.*?\[\]!-]+)?", re.ASCII)
MAX_POLICY = 16_384  # characters of a policy file
LONGEST = 3660 * 86_400  # seconds; ten years is a standing access, which grants are not
LONGEST_BREAK_GLASS = 4 * 3600  # seconds; whoever needs longer has the time to ask
_MAX_PEOPLE = 20  # approvals or admins demanded: more is a slip of the keyboard
OWNER = "owner"  # of an artifact: who answers for its first version
VERSION_SEALERS = (OWNER, "role:admin")
_FILE_DEFAULTS: dict[str, Any] = {
    "begin_within": "24h",
    "admins_for_people": 2,
    "sealers": [f"role:{role}" for role in get_args(Role)],
    "version_sealers": list(VERSION_SEALERS),
}
DURATIONS = ("pending_for", "begin_within", "longest", "break_glass")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What holds for some artifacts, named by pattern or by a label they carry.

    Whoever asks must be named by *every* rule that covers an artifact, and so must whoever
    approves: a broad rule never opens what a narrow one closes. ``deny`` closes for all.
    """

    name: str
    artifacts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    requesters: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    approvals: int = 0
    longest: int = 0  # seconds
    isolation: Isolation = "none"
    deny: bool = False
    break_glass: int | UnsetType = UNSET  # seconds; where it is left out nobody may break glass

    def covers(self, artifact: str, labels: Iterable[str]) -> bool:
        """Whether the rule speaks about an artifact of that name with those labels."""
        return any(fnmatchcase(artifact, pattern) for pattern in self.artifacts) or any(
            fnmatchcase(label, pattern) for label in labels for pattern in self.labels
        )


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The rules of one broker. Durations are in seconds."""

    mode: Literal["enforce", "observe"]
    pending_for: int
    begin_within: int
    admins_for_policy: int
    admins_for_people: int
    sealers: tuple[str, ...]
    version_sealers: tuple[str, ...] = VERSION_SEALERS
    same_person: tuple[tuple[str, ...], ...] = ()
    rule: tuple[Rule, ...] = ()
    limits: Limits | UnsetType = UNSET

    @property
    def waives(self) -> bool:
        """Whether anything can be opened without an approval: never one admin's decision."""
        return self.mode == "observe" or any(
            not rule.deny and (rule.approvals == 0 or bool(rule.break_glass)) for rule in self.rule
        )

    def may_seal_version(self, person: str, roles: Iterable[str], owner: str) -> bool:
        """Whether ``person`` may seal a new version of a name that is ``owner``'s."""
        owns = OWNER in self.version_sealers and person == owner
        return owns or names_person(self.version_sealers, person, roles)

    def human(self, name: str) -> str:
        """The person behind an account: the first name of the ``same_person`` group it is in."""
        return self.accounts(name)[0]

    def accounts(self, name: str) -> tuple[str, ...]:
        """All accounts of the person behind one: the ``same_person`` group, or it alone."""
        return next((group for group in self.same_person if name in group), (name,))

    def to_dict(self) -> dict[str, Any]:
        """The canonical form, as the ledger holds it.

        What came later than the first ledgers is left out where it says its default: an older
        policy keeps its digest.
        """
        built: dict[str, Any] = msgspec.json.decode(canonical(self))
        if self.version_sealers == VERSION_SEALERS:
            del built["version_sealers"]
        return built

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Policy:
        """The inverse of :meth:`to_dict`; raises MalformedError unless it is exactly that."""
        try:
            policy = msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            raise _invalid(f"The policy cannot be read: {error}.") from error
        _check(policy, "")
        if canonical(policy.to_dict()) != canonical(data):
            raise _invalid("The policy is not in its canonical form: defaults are left out.")
        return policy


def names_person(principals: Iterable[str], name: str, roles: Iterable[str]) -> bool:
    """Whether ``principals`` (``role:…``, ``person:…``) name that person. No principals: nobody."""
    wanted = {f"person:{name}", *(f"role:{role}" for role in roles)}
    return not wanted.isdisjoint(principals)


def parse_policy(text: str) -> Policy:
    """The policy that a TOML file says; raises MalformedError naming line and rule."""
    if len(text) > MAX_POLICY:
        raise _invalid(
            f"A policy has at most {MAX_POLICY:,} characters, and this has {len(text):,}."
        )
    try:
        return _parse(tomllib.loads(text), text)
    except RecursionError:
        raise _invalid("The policy is not one: it is nested far too deeply.") from None
    except ValueError as error:  # not of TOML's grammar, or a number or date that there is not
        raise _invalid(f"The policy is not TOML: {error}.") from error


def _parse(data: dict[str, Any], text: str) -> Policy:
    rules = data.get("rule", [])
    if not (isinstance(rules, list) and all(isinstance(rule, dict) for rule in rules)):
        raise _invalid("Rules are written as [[rule]] tables, one for each rule.")
    top = {**_FILE_DEFAULTS, **data}
    _convert_durations(top, text, None, "The policy")
    for number, rule in enumerate(rules):
        _convert_durations(rule, text, number, _named(rule.get("name"), number))
        _check_keys(rule, text, number)
    _check_known(top, Policy, text, None, "The policy")
    if "limits" in top:
        try:
            top["limits"] = parse_limits(top["limits"], text)
        except UsageError as error:
            raise _invalid(error.what) from error
    try:
        policy = msgspec.convert(top, Policy)
    except msgspec.ValidationError as error:
        raise _invalid(f"{_place(str(error), text, rules)}{error}.") from error
    _check(policy, text)
    return policy


def _check(policy: Policy, text: str) -> None:
    """What the types do not say. ``text`` is the TOML, for line numbers; "" where there is none."""
    for key in ("pending_for", "begin_within"):
        if not 0 < getattr(policy, key) <= LONGEST:
            raise _invalid(f"{_line(text, key)}`{key}` must be between 1s and 3660d.")
    for key in ("admins_for_policy", "admins_for_people"):
        if not 1 <= getattr(policy, key) <= _MAX_PEOPLE:
            raise _invalid(f"{_line(text, key)}`{key}` must be between 1 and {_MAX_PEOPLE}.")
    _check_principals(policy.sealers, _line(text, "sealers"))
    others = tuple(one for one in policy.version_sealers if one != OWNER)
    _check_principals(others, _line(text, "version_sealers"))
    accounts = [name for group in policy.same_person for name in group]
    if len(set(accounts)) != len(accounts) or any(len(group) < 2 for group in policy.same_person):
        raise _invalid(
            f"{_line(text, 'same_person')}Each group of `same_person` lists two or more accounts, "
            "and an account is in one group only."
        )
    names = set()
    for number, rule in enumerate(policy.rule):
        _check_rule(rule, number, text)
        if rule.name in names:
            raise _invalid(
                f"{_line(text, 'name', number)}There are two rules of the name {rule.name!r}."
            )
        names.add(rule.name)


def _check_rule(rule: Rule, number: int, text: str) -> None:
    who = _named(rule.name, number)
    if not rule.name.strip():
        raise _invalid(f"{_line(text, 'name', number)}{who} has an empty name.")
    if not (rule.artifacts or rule.labels):
        raise _invalid(
            f"{_line(text, None, number)}{who} covers nothing: it lists no artifacts and no labels."
        )
    for pattern in rule.artifacts:
        if not _PATTERN.fullmatch(pattern):
            raise _invalid(
                f"{_line(text, 'artifacts', number)}{who}: {pattern!r} is not a pattern "
                "over names like weights/base."
            )
    if rule.deny:
        if rule != Rule(name=rule.name, artifacts=rule.artifacts, labels=rule.labels, deny=True):
            raise _invalid(
                f"{_line(text, 'deny', number)}{who} denies, so it lists only artifacts and labels."
            )
        return
    _check_principals(rule.requesters, _line(text, "requesters", number) + f"{who}: ")
    _check_principals(rule.approvers, _line(text, "approvers", number) + f"{who}: ")
    if not 0 <= rule.approvals <= _MAX_PEOPLE:
        raise _invalid(
            f"{_line(text, 'approvals', number)}{who}: `approvals` must be between 0 and "
            f"{_MAX_PEOPLE}."
        )
    if rule.approvals and not rule.approvers:
        raise _invalid(
            f"{_line(text, 'approvers', number)}{who} demands approvals and names nobody who "
            "may give them: an empty list means nobody."
        )
    if not 0 < rule.longest <= LONGEST:
        raise _invalid(
            f"{_line(text, 'longest', number)}{who}: `longest` must be between 1s and 3660d."
        )
    most = min(rule.longest, LONGEST_BREAK_GLASS)
    if rule.break_glass is not UNSET and not 0 < rule.break_glass <= most:
        length = format_duration(timedelta(seconds=most))
        raise _invalid(
            f"{_line(text, 'break_glass', number)}{who}: `break_glass` must be between 1s and "
            f"{length}: no longer than `longest`, nor than 4h."
        )


def _check_principals(principals: tuple[str, ...], where: str) -> None:
    for principal in principals:
        if not _PRINCIPAL.fullmatch(principal):
            raise _invalid(
                f"{where}{principal!r} names nobody: write role:{'|'.join(get_args(Role))} "
                "or person:NAME."
            )


def _check_keys(rule: dict[str, Any], text: str, number: int) -> None:
    """That a rule in a file says everything: nothing that decides is left to a default."""
    who = _named(rule.get("name"), number)
    _check_known(rule, Rule, text, number, who)
    needed = {"name"} if rule.get("deny") else {"name", "requesters", "approvals", "longest"}
    if rule.get("approvals"):
        needed.add("approvers")
    if missing := sorted(needed - rule.keys()):
        raise _invalid(f"{_line(text, None, number)}{who} lacks `{'`, `'.join(missing)}`.")


def _check_known(
    table: dict[str, Any], type_: type[msgspec.Struct], text: str, number: int | None, who: str
) -> None:
    for key in table:
        if key not in type_.__struct_fields__:
            raise _invalid(
                f"{_line(text, key, number)}{who} has an unknown key {key!r}; known are "
                f"{', '.join(type_.__struct_fields__)}."
            )


def _convert_durations(table: dict[str, Any], text: str, number: int | None, who: str) -> None:
    for key in DURATIONS:
        if key not in table:
            continue
        try:
            if not isinstance(table[key], str):
                raise UsageError(f"{table[key]!r} is not a duration.")
            table[key] = int(parse_duration(table[key]).total_seconds())
        except UsageError as error:
            raise _invalid(f"{_line(text, key, number)}{who}: `{key}`: {error.what}") from error


def _named(name: object, number: int) -> str:
    return f"Rule {number + 1}" + (f" ({name!r})" if name else "")


def _place(message: str, text: str, rules: list[dict[str, Any]]) -> str:
    """Line and rule of a fault that msgspec describes ("… - at `$.rule[0].approvals`")."""
    found = re.search(r"\$(?:\.rule\[(\d+)\])?(?:\.(\w+))?", message)
    number = int(found[1]) if found and found[1] else None
    line = _line(text, found[2] if found else None, number)
    return line if number is None else f"{line}{_named(rules[number].get('name'), number)}: "


def _line(text: str, key: str | None, number: int | None = None) -> str:
    """``"Line 7: "`` where ``key`` of rule ``number`` (or of the top) is set; "" if not found.

    ``tomllib`` keeps no positions, so this looks for the line; with no key, for the rule.
    """
    wanted = (
        re.compile(r"\s*\[\[\s*rule\s*\]\]")
        if key is None
        else re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
    )
    rule = None
    for line, content in enumerate(text.splitlines(), 1):
        if re.match(r"\s*\[\[\s*rule\s*\]\]", content):
            rule = 0 if rule is None else rule + 1
        if rule == number and wanted.match(content):
            return f"Line {line}: "
    return "" if key is None else _line(text, None, number)


def _invalid(what: str) -> MalformedError:
    return MalformedError(
        what,
        next="`aisec policy check FILE` checks it before it is applied.",
        code="policy-invalid",
    )


def describe(rule: Rule) -> str:
    """A rule in one sentence, for the reasons of a decision."""
    if rule.deny:
        return f"Rule {rule.name!r} denies it to everybody."
    people = (
        f"{rule.approvals} approval{'s' if rule.approvals > 1 else ''} by "
        f"{' or '.join(rule.approvers)}"
        if rule.approvals
        else "no approval"
    )
    longest = format_duration(timedelta(seconds=rule.longest))
    said = (
        f"Rule {rule.name!r} asks for {people}, at most {longest}, "
        f"isolation {rule.isolation} or better."
    )
    if not rule.break_glass:
        return said
    length = format_duration(timedelta(seconds=rule.break_glass))
    return f"{said} Break-glass: without that, at most {length}, to be reviewed after."
