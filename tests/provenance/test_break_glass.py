"""A run under a grant that nobody approved: it holds, it is said, and nothing of it is forged."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from jupyter_aisec import grants
from jupyter_aisec.grants import DEFAULT_POLICY_TEXT
from jupyter_aisec.grants.statements import Request, Review
from jupyter_aisec.ledger import bodies as b
from jupyter_aisec.provenance import chain_of_custody, parse_bundle, verify_bundle
from tests.provenance.forger import Forger, first_failed, replace, verify
from tests.provenance.world import Walked, World, new_id

LETTING = DEFAULT_POLICY_TEXT.replace('# break_glass = "15m"', 'break_glass = "15m"').replace(
    "[[rule]]", 'same_person = [["researcher", "double"]]\n\n[[rule]]'
)
FLAGGED = b'"break_glass":true,'


def walk(*reviewers: str, verdict: str = "justified") -> Walked:
    """Like the walk of all other tests, but nobody is asked first."""
    world = World()
    world.found()
    world.invite("approver", ("approver",), "admin", "researcher")
    world.invite("other", ("approver",), "admin", "researcher")
    world.invite("double", ("admin", "approver"), "admin", "researcher")
    world.invite("bystander", ("researcher",), "admin", "researcher")
    world.apply_policy(LETTING, "admin", "researcher")
    world.seal("dataset/digits", "researcher")
    world.seal("dataset/other", "researcher")
    world.request(("dataset/digits",), break_glass=True)
    world.bind()
    world.request(("dataset/other",), grant=new_id("grant"))  # has no part in the run
    opened = world.release("dataset/digits")
    for name in reviewers:
        world.review(name, verdict=verdict, comment="a real one")
    seal_id, _ = world.seal("weights/net", "kernel")
    record = world.record((opened,), seal_id)
    signed = world.sign_run(
        world.sign_record(record), world.sign_observation(world.observe(record))
    )
    world.append(grants.propose_run(world.state, signed.body, world.now))
    return Walked(world, seal_id, record, signed, world.bundle(signed))


@pytest.fixture(scope="module")
def broken() -> Walked:
    """Reviewed once, by the approver."""
    return walk("approver")


@pytest.fixture(scope="module")
def owed() -> Walked:
    """Not reviewed yet."""
    return walk()


def details(walked: Walked) -> dict[str, str]:
    report = verify(walked, walked.bundle)
    assert [f"{one.name}: {one.detail}" for one in report.checks if not one.ok] == []
    return {one.name: one.detail for one in report.checks}


def test_it_holds_and_says_that_nobody_approved_and_that_a_review_is_owed(owed: Walked) -> None:
    grant, said = owed.world.grant, details(owed)
    assert said["requests"].endswith("asked for dataset/digits by breaking the glass")
    assert said["approvals"] == f"no approval was demanded for {grant}: break-glass"
    assert said["reviews"] == f"{grant}: break-glass, 1 review owed"
    tree = str(chain_of_custody(parse_bundle(owed.bundle)))
    assert "no approval was demanded: break-glass, 0 of 1 reviews so far" in tree


@pytest.mark.parametrize("verdict", ["justified", "unjustified"])
def test_what_reviewers_found_is_in_the_checks_the_chain_of_custody_and_the_statement(
    verdict: str,
) -> None:
    walked = walk("approver", "other", verdict=verdict)
    grant = walked.world.grant
    assert details(walked)["reviews"] == (
        f"approver found {grant} {verdict}; other found {grant} {verdict}"
    )
    tree = str(chain_of_custody(parse_bundle(walked.bundle)))
    assert "break-glass, 2 of 1 reviews so far" in tree
    assert f"{verdict}, approver in entry" in tree
    assert ": a real one" in tree
    definition = json.loads(walked.signed.statement.payload)["predicate"]["buildDefinition"]
    (said,) = definition["internalParameters"]["grants"]
    (dependency,) = definition["resolvedDependencies"]
    assert said["approvalsDemanded"] == 0
    assert said["breakGlass"] == dependency["annotations"]["breakGlass"]
    assert said["breakGlass"]["reviewsDemanded"] == 1
    reviews = said["breakGlass"]["reviews"]
    assert [(one["person"], one["verdict"]) for one in reviews] == [
        ("approver", verdict),
        ("other", verdict),
    ]
    for one in reviews:
        entry = walked.world.entries[one["entry"]["index"]]
        assert (entry.type, entry.leaf_hash.hex()) == ("grant.reviewed", one["entry"]["sha256"])
    assert b"a real one" not in walked.signed.statement.payload  # it stays in the ledger


def test_a_statement_without_break_glass_says_nothing_of_it(walked: Walked) -> None:
    assert b"breakGlass" not in walked.signed.statement.payload
    assert details(walked)["reviews"] == "no glass was broken"


def test_the_bundle_shows_all_who_were_told_and_nobody_else(owed: Walked) -> None:
    shown = {
        body.person
        for one in parse_bundle(owed.bundle).entries
        if isinstance(body := one.entry.content(), b.PersonInvited)
    }
    assert shown == {"approver", "other", "double"}  # the last one is an admin


def test_a_bundle_that_hides_who_could_have_been_told_does_not_hold(owed: Walked) -> None:
    bundle = parse_bundle(owed.bundle)
    left = tuple(
        one
        for one in bundle.entries
        if getattr(one.entry.content(), "person", None) not in ("approver", "other")
    )
    report = verify(owed, replace(bundle, entries=left))
    assert first_failed(report) == "requests"


def test_a_review_that_comes_later_does_not_change_what_was_signed(owed: Walked) -> None:
    later = walk()
    later.world.review("approver")
    bundle = later.world.bundle(later.signed)
    report = verify_bundle(
        bundle,
        later.world.trust,
        later.world.manifest_file(later.seal_id),
        later.world.sealed_files(later.seal_id),
    )
    assert report.ok
    assert "1 review owed" in next(one.detail for one in report.checks if one.name == "reviews")


# -- forgeries

Forgery = tuple[str, Callable[[Forger], None]]
BROKEN: dict[str, Forgery] = {}
ORDINARY: dict[str, Forgery] = {}


def forgery(where: dict[str, Forgery], check: str) -> Callable[[Any], Any]:
    def register(forge: Callable[[Forger], None]) -> Callable[[Forger], None]:
        where[forge.__name__] = (check, forge)
        return forge

    return register


def _terms(f: Forger, **changes: Any) -> None:
    _, body = f.find(b.GrantRequested)
    f.change(b.GrantRequested, terms=replace(body.terms, **changes))


@forgery(ORDINARY, "requests")
def terms_of_break_glass_for_a_request_that_did_not_ask_for_it(f: Forger) -> None:
    _terms(f, approvals=0, reviews=1)


@forgery(ORDINARY, "requests")
def terms_of_break_glass_beside_the_approvals(f: Forger) -> None:
    _terms(f, reviews=1)


@forgery(ORDINARY, "requests")
def the_flag_put_into_a_request_that_was_signed_without_it(f: Forger) -> None:
    _, body = f.find(b.GrantRequested)
    payload = body.request.payload.replace(b'"extends"', FLAGGED + b'"extends"')
    assert payload != body.request.payload
    f.change(
        b.GrantRequested,
        request=replace(body.request, payload=payload),
        terms=replace(body.terms, approvals=0, reviews=1),
    )


@forgery(ORDINARY, "requests")
def the_glass_broken_where_policy_does_not_let_it(f: Forger) -> None:
    """The requester and the broker are in it together."""
    _, body = f.find(b.GrantRequested)
    f.change(
        b.GrantRequested,
        request=f.resign(body.request, Request, "researcher", break_glass=True),
        terms=replace(body.terms, approvals=0, reviews=1),
    )


@forgery(ORDINARY, "reviews")
def a_review_of_what_was_approved(f: Forger) -> None:
    _, body = f.find(b.GrantRequested)
    digest = f.world.state.grants[f.world.grant].signed.sha256
    statement = f.world.sign(
        Review, "approver", grant=body.grant, request_sha256=digest, verdict="justified"
    )
    f.changes[f.spare] = b.GrantReviewed(grant=body.grant, statement=statement)


@forgery(BROKEN, "requests")
def no_review_owed(f: Forger) -> None:
    _terms(f, reviews=msgspec.UNSET)


@forgery(BROKEN, "requests")
def more_time_than_break_glass_has(f: Forger) -> None:
    _terms(f, seconds=901)


@forgery(BROKEN, "requests")
def more_time_to_begin_than_break_glass_has(f: Forger) -> None:
    _terms(f, begin_within=86_400)


@forgery(BROKEN, "requests")
def the_flag_taken_out_of_the_request(f: Forger) -> None:
    _, body = f.find(b.GrantRequested)
    payload = body.request.payload.replace(FLAGGED, b"")
    assert payload != body.request.payload
    f.change(b.GrantRequested, request=replace(body.request, payload=payload))


@forgery(BROKEN, "requests")
def told_one_who_could_not_have_approved(f: Forger) -> None:
    _terms(f, approvers=("admin", "approver", "other"))


@forgery(BROKEN, "requests")
def told_the_requesters_second_account(f: Forger) -> None:
    _terms(f, approvers=("approver", "double", "other"))


@forgery(BROKEN, "releases")
def keys_released_for_longer_than_break_glass_lasts(f: Forger) -> None:
    index, _ = f.find(b.KeysReleased)
    for entry in f.world.entries[index:]:
        f.times[entry.index] = "2026-11-22T09:16:00.000Z"


def _review(f: Forger, *signers: str, **changes: Any) -> None:
    _, body = f.find(b.GrantReviewed)
    f.change(b.GrantReviewed, statement=f.resign(body.statement, Review, *signers, **changes))


@forgery(BROKEN, "reviews")
def reviewed_by_the_requester(f: Forger) -> None:
    _review(f, "researcher", person="researcher")


@forgery(BROKEN, "reviews")
def reviewed_by_the_requesters_second_account(f: Forger) -> None:
    """An admin's, which could stand in for others."""
    _review(f, "double", person="double")


@forgery(BROKEN, "reviews")
def reviewed_in_the_name_of_another(f: Forger) -> None:
    _review(f, "other")


@forgery(BROKEN, "reviews")
def reviewed_another_request(f: Forger) -> None:
    _review(f, "approver", request_sha256="0" * 64)


@forgery(BROKEN, "reviews")
def reviewed_another_grant(f: Forger) -> None:
    _review(f, "approver", grant="grant_other")


@forgery(BROKEN, "reviews")
def found_otherwise_than_signed(f: Forger) -> None:
    _, body = f.find(b.GrantReviewed)
    payload = body.statement.payload.replace(b'"justified"', b'"unjustified"')
    f.change(b.GrantReviewed, statement=replace(body.statement, payload=payload))


@forgery(BROKEN, "reviews")
def reviewed_twice_by_one_person(f: Forger) -> None:
    _, body = f.find(b.GrantReviewed)
    f.changes[f.spare] = body


@forgery(BROKEN, "statement")
def a_review_left_out_of_the_entries(f: Forger) -> None:
    index, _ = f.find(b.GrantReviewed)
    f.changes[index] = f.find(b.GrantRequested, 1)[1]


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_forged_about_broken_glass_is_noticed(broken: Walked, name: str) -> None:
    check, forge = BROKEN[name]
    forger = Forger(broken)
    forge(forger)
    report = verify(broken, forger.bundle())
    assert first_failed(report) == check, [one for one in report.checks if not one.ok]


@pytest.mark.parametrize("name", ORDINARY)
def test_broken_glass_is_not_forged_where_there_is_none(walked: Walked, name: str) -> None:
    check, forge = ORDINARY[name]
    forger = Forger(walked)
    forge(forger)
    report = verify(walked, forger.bundle())
    assert first_failed(report) == check, [one for one in report.checks if not one.ok]


def test_a_forger_who_changes_nothing_is_not_noticed(broken: Walked) -> None:
    assert verify(broken, Forger(broken).bundle()).ok


def test_a_stand_in_for_those_who_left_counts_offline_too() -> None:
    world = World()
    world.found()
    world.invite("approver", ("approver",), "admin", "researcher")
    world.apply_policy(LETTING, "admin", "researcher")
    world.seal("dataset/digits", "researcher")
    world.request(("dataset/digits",), break_glass=True)
    world.bind()
    opened = world.release("dataset/digits")
    world.remove("approver", "admin")
    world.review("admin")
    seal_id, _ = world.seal("weights/net", "kernel")
    record = world.record((opened,), seal_id)
    signed = world.sign_run(
        world.sign_record(record), world.sign_observation(world.observe(record))
    )
    world.append(grants.propose_run(world.state, signed.body, world.now))
    walked = Walked(world, seal_id, record, signed, world.bundle(signed))
    assert details(walked)["reviews"] == f"admin found {world.grant} justified"
