"""Another policy for a running broker, signed by its two admins."""

from __future__ import annotations

from jupyter_aisec.grants import parse_policy, policy_sha256
from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT
from jupyter_aisec.grants.statements import PolicyChange
from jupyter_aisec.people.dsse import sign_again
from tests.broker.world import Api

OBSERVING = DEFAULT_POLICY_TEXT.replace('"enforce"', '"observe"')


def apply_policy(api: Api, text: str, first: str = "researcher", second: str = "approver") -> None:
    """Put ``text`` in force."""
    envelope = api.site.signed(
        PolicyChange,
        first,
        policy_sha256=policy_sha256(parse_policy(text)),
        replaces=api.get("/v1/policy", first)["version"],
    )
    both = sign_again(envelope, api.site.keys[second])
    api.post("/v1/policy", {"policy": text, "envelope": both}, person=first)
