"""People over HTTP: log-in, invitation, enrolment, revocation, removal, policy."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from jupyter_aisec.broker.config import Config
from jupyter_aisec.grants.policies import policy_sha256
from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT, MAX_POLICY, parse_policy
from jupyter_aisec.grants.statements import (
    Enrolment,
    Invitation,
    KeyRevocation,
    Login,
    PolicyChange,
    Removal,
)
from jupyter_aisec.people.dsse import Envelope, sign, sign_again
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.times import format_time
from tests.broker.world import ORIGIN, Api, Clock, Site, problem, serve, timestamp


def invitation(
    api: Api, name: str, token: str, roles: tuple[str, ...] = ("researcher",)
) -> Envelope:
    """As the first of two admins signs it."""
    return api.site.signed(
        Invitation,
        "researcher",
        invites=name,
        roles=roles,
        token_sha256=hashlib.sha256(token.encode()).hexdigest(),
        expires=format_time(datetime.now(UTC) + timedelta(hours=1)),
    )


def enrolment(name: str, key: SigningKey, token: str | None) -> Envelope:
    digest = None if token is None else hashlib.sha256(token.encode()).hexdigest()
    statement = Enrolment(
        origin=ORIGIN, person=name, at=timestamp(), key=key.public, token_sha256=digest
    )
    return sign(statement, Enrolment.payload_type, key)


def test_from_invitation_to_removal(api: Api) -> None:
    token, key = secrets.token_urlsafe(16), SigningKey.generate()
    once = invitation(api, "newcomer", token)
    alone = api.send("POST", "/v1/people", {"envelope": once}, person="researcher")
    problem(alone, 401, "admins-too-few")
    not_mine = api.send("POST", "/v1/people", {"envelope": once}, person="approver")
    problem(not_mine, 401, "token-of-another")
    body = {"envelope": sign_again(once, api.site.keys["approver"])}
    assert api.post("/v1/people", body, person="approver")["name"] == "newcomer"  # who signed last
    first = enrolment("newcomer", key, token)
    wrong = api.send("POST", "/v1/people/enrol", {"envelope": first, "token": "no"})
    problem(wrong, 401, "token-wrong")
    for _ in range(2):  # the reply may be lost
        answer = api.post("/v1/people/enrol", {"envelope": first, "token": token})
        assert [one["enrolled"] for one in answer["keys"]] != []
    again = enrolment("newcomer", SigningKey.generate(), token)
    used = api.send("POST", "/v1/people/enrol", {"envelope": again, "token": token})
    problem(used, 401, "token-invalid")

    api.site.keys["newcomer"] = key
    assert api.get("/v1/whoami", "newcomer") == {
        "person": "newcomer",
        "roles": ["researcher"],
        "reviews_waiting": 0,
    }
    second = SigningKey.generate()
    vouched = sign_again(enrolment("newcomer", second, None), key)
    assert len(api.post("/v1/people/enrol", {"envelope": vouched})["keys"]) == 2
    revocation = api.site.signed(KeyRevocation, "newcomer", key_id=second.public.key_id)
    view = api.post("/v1/people/keys/revoke", {"envelope": revocation}, person="newcomer")
    assert [one["revoked"] is None for one in view["keys"]] == [True, False]

    removal = {"envelope": api.site.signed(Removal, "researcher", removes="newcomer")}
    path = "/v1/people/newcomer/remove"
    other = api.send("POST", "/v1/people/second/remove", removal, person="researcher")
    problem(other, 422, "person-differs")
    assert api.post(path, removal, person="researcher")["removed"] is not None
    problem(api.send("GET", "/v1/whoami", person="newcomer"), 401, "session-invalid")
    names = [one["name"] for one in api.get("/v1/people", "second")]
    assert names == ["researcher", "approver", "second", "newcomer"]


class OneAdmin(Site):
    ROLES = {"researcher": ("admin", "researcher"), "approver": ("approver",)}  # noqa: RUF012


def test_the_only_admin_adds_the_second_alone_and_nobody_after_that(tmp_path: Path) -> None:
    with serve(OneAdmin(tmp_path / "home")) as (api, _):
        assert api.get("/v1/policy", "approver")["admins_for_people"] == 1
        token, key = secrets.token_urlsafe(16), SigningKey.generate()
        body = {"envelope": invitation(api, "newcomer", token, roles=("admin",))}
        api.post("/v1/people", body, person="researcher")
        assert api.get("/v1/policy", "approver")["admins_for_people"] == 1  # no key yet
        first = {"envelope": enrolment("newcomer", key, token), "token": token}
        api.post("/v1/people/enrol", first)
        assert api.get("/v1/policy", "approver")["admins_for_people"] == 2
        sock = invitation(api, "sock", "token", roles=("approver",))
        answer = api.send("POST", "/v1/people", {"envelope": sock}, person="researcher")
        problem(answer, 401, "admins-too-few")
        api.site.keys["newcomer"] = key
        both = {"envelope": sign_again(sock, key)}
        assert api.post("/v1/people", both, person="newcomer")["name"] == "sock"


class TestLogin:
    def test_a_log_in_that_was_seen_is_worth_nothing(self, api: Api) -> None:
        envelope = api.site.signed(Login, "researcher", nonce="n")
        api.post("/v1/sessions", {"envelope": envelope})
        problem(api.send("POST", "/v1/sessions", {"envelope": envelope}), 409, "statement-recorded")

    def test_an_old_one_is_refused(self, api: Api) -> None:
        old = format_time(datetime.now(UTC) - timedelta(minutes=6))
        login = Login(origin=ORIGIN, person="researcher", at=old, nonce="n")
        envelope = sign(login, Login.payload_type, api.site.keys["researcher"])
        problem(api.send("POST", "/v1/sessions", {"envelope": envelope}), 401, "login-stale")

    def test_a_session_ends(self, site: Site) -> None:
        clock = Clock()
        with serve(site, clock=clock, config=Config(session=timedelta(hours=1))) as (api, _):
            api.get("/v1/whoami", "researcher")
            clock.offset = timedelta(hours=1)
            problem(api.send("GET", "/v1/whoami", person="researcher"), 401, "session-invalid")

    @pytest.mark.parametrize("header", ["Bearer nonsense", "Basic eDp4", "Bearer", ""])
    def test_no_token_of_ours(self, api: Api, header: str) -> None:
        answer = api.send("GET", "/v1/whoami", headers={"Authorization": header})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    def test_no_token_is_in_the_ledger(self, api: Api) -> None:
        token = api.token("researcher")
        for path in api.site.home.rglob("*"):
            if path.is_file():
                assert token.encode() not in path.read_bytes()


def test_policy_changes_by_two_admins(api: Api) -> None:
    text = DEFAULT_POLICY_TEXT.replace('longest = "4h"', 'longest = "2h"')
    assert text != DEFAULT_POLICY_TEXT
    change = api.site.signed(
        PolicyChange, "researcher", policy_sha256=policy_sha256(parse_policy(text)), replaces=0
    )
    body = {"policy": text, "envelope": change}
    problem(api.send("POST", "/v1/policy", body, person="researcher"), 401, "admins-too-few")
    both = sign_again(change, api.site.keys["approver"])
    view = api.get("/v1/policy", "second")
    assert (view["admins_for_people"], view["admins_for_keys"]) == (2, 2)
    answer = api.post("/v1/policy", {"policy": text, "envelope": both}, person="researcher")
    assert answer["version"] == 1
    bad = {"policy": "mode = 1", "envelope": both}
    assert api.send("POST", "/v1/policy", bad, person="researcher").status_code == 422


class TestPolicyText:
    """Nobody's text is parsed who could not put a policy in force."""

    @pytest.fixture(autouse=True)
    def _never_parsed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def parse(_: str) -> None:
            pytest.fail("it was parsed")

        monkeypatch.setattr("jupyter_aisec.broker.routes.policy.parse_policy", parse)

    def test_of_somebody_who_is_no_admin(self, api: Api) -> None:
        change = api.site.signed(PolicyChange, "second", policy_sha256="0" * 64, replaces=0)
        body = {"policy": "x", "envelope": change}
        problem(api.send("POST", "/v1/policy", body, person="second"), 403, "role-missing")

    def test_that_nobody_signed_for(self, api: Api) -> None:
        change = api.site.signed(PolicyChange, "researcher", policy_sha256="0" * 64, replaces=0)
        (signature,) = change.signatures
        forged = msgspec.structs.replace(signature, sig=bytes(64))
        change = msgspec.structs.replace(change, signatures=(forged,))
        body = {"policy": "x", "envelope": change}
        answer = api.send("POST", "/v1/policy", body, person="researcher")
        problem(answer, 403, "signature-invalid")

    def test_that_is_too_long(self, api: Api) -> None:
        change = api.site.signed(PolicyChange, "researcher", policy_sha256="0" * 64, replaces=0)
        body = {"policy": "#" * (MAX_POLICY + 1), "envelope": change}
        answer = api.send("POST", "/v1/policy", body, person="researcher")
        problem(answer, 422, "content-malformed")
