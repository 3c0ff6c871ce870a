"""Kernels taking their seat, and the confirmation that a kernel's ending is complete."""

from __future__ import annotations

from datetime import datetime

from jupyter_aisec.errors import ConflictError, IdentityError, MalformedError, RefusedError
from jupyter_aisec.grants.approvals import asked, ended_error
from jupyter_aisec.grants.grant import Grant
from jupyter_aisec.grants.policy import ISOLATION
from jupyter_aisec.grants.signatures import read_signed
from jupyter_aisec.grants.signed import Signed
from jupyter_aisec.grants.state import State
from jupyter_aisec.grants.statements import Binding
from jupyter_aisec.grants.waived import check_waived_seat
from jupyter_aisec.ledger.bodies import EndedHow, EndingConfirmed, SeatBound
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.people.release_keys import load_release_key
from jupyter_aisec.times import parse_time

__all__ = ["check_bound", "check_ending", "check_taken", "propose_binding", "propose_ending"]


def propose_binding(state: State, envelope: Envelope, now: datetime) -> SeatBound:
    """The entry for a kernel that takes its seat."""
    signed = read_signed(state, envelope, Binding)
    body = SeatBound(grant=signed.statement.grant, binding=envelope)
    check_bound(state, body, state.time(now)).verify()
    return body


def check_bound(state: State, body: SeatBound, at: datetime) -> Signed[Binding]:
    """That the kernel may take the seat at ``at``; one that held it before loses it."""
    signed = read_signed(state, body.binding, Binding, at=at)
    binding = signed.statement
    if binding.grant != body.grant:
        raise MalformedError("The entry and the binding name two grants.", code="grant-differs")
    grant = state.grant(binding.grant)
    check_taken(grant, binding, at)
    check_waived_seat(grant, state.policy_version)
    _check_key(state, grant, binding)
    return signed


def check_taken(grant: Grant, binding: Binding, at: datetime) -> None:
    """That the binding fits its grant as it stands at ``at``: what the grant alone can tell."""
    if binding.person != grant.person:
        raise RefusedError(
            f"{grant.id} is a grant of {grant.person}, not of {binding.person}.",
            next="Ask for a grant of your own.",
            code="seat-of-another",
        )
    if binding.seat != grant.request.seat:
        raise RefusedError(
            f"{grant.id} is for the seat {grant.request.seat}, not for {binding.seat}.",
            next="Ask for a grant in this notebook session.",
            code="seat-wrong",
        )
    _check_window(grant, at)
    if grant.bindings and parse_time(binding.at) < parse_time(
        grant.bindings[-1].signed.statement.at
    ):
        raise ConflictError(
            f"A kernel that was bound later than this one was signed for holds {grant.id}.",
            next="If this kernel is to have the seat, set the clock and bind again: "
            "`%reload_ext jupyter_aisec`.",
            code="binding-outdated",
        )
    if ISOLATION.index(binding.isolation) < ISOLATION.index(grant.terms.isolation):
        raise RefusedError(
            f"{grant.id} demands isolation {grant.terms.isolation}, and this kernel proved "
            f"{binding.isolation}.",
            next='Use the "Python 3 (secure)" kernel; what is missing on this machine: '
            "`aisec doctor`.",
            code="isolation-too-low",
        )
    binding.kernel_key.raw()  # kernels sign with Ed25519
    load_release_key(binding.release_key)
    if any(one.kernel == binding.kernel_key.key_id for one in grant.bindings):
        raise ConflictError(
            f"This kernel is, or was, bound to {grant.id}.",
            next="Restart this kernel: it makes new keys then.",
            code="kernel-bound-already",
        )


def _check_window(grant: Grant, at: datetime) -> None:
    state = grant.state(at)
    if state == "ended":
        raise ended_error(grant, at)
    if state == "pending":
        raise RefusedError(
            f"{grant.id} is not approved yet.",
            next=asked(grant, "approve"),
            code="grant-pending",
        )
    if state == "scheduled" and grant.starts_at is not None:
        raise RefusedError(
            f"{grant.id} starts at {grant.request.start}.",
            next="Wait until then.",
            code="grant-not-begun",
        )


def _check_key(state: State, grant: Grant, binding: Binding) -> None:
    kernel = binding.kernel_key.key_id
    known = state.kernels.get(kernel)
    taken = state.directory.owner(kernel) is not None or kernel == state.genesis.broker_key.key_id
    if taken or (known is not None and known.person != grant.person):
        raise IdentityError(
            "The kernel's key is somebody else's.",
            next="A kernel makes its own key when it starts.",
            code="kernel-key-taken",
        )


def propose_ending(
    state: State,
    grant: str,
    kernel: str,
    how: EndedHow,
    now: datetime,
) -> EndingConfirmed:
    """The entry for the keeper's word that the kernel's keys and buffers are gone."""
    body = EndingConfirmed(grant=grant, kernel=kernel, how=how)
    check_ending(state, body, state.time(now))
    return body


def check_ending(state: State, body: EndingConfirmed, at: datetime) -> None:
    """That the kernel held the seat, and that nothing was confirmed before."""
    grant = state.grant(body.grant)
    bound = [one for one in grant.bindings if one.kernel == body.kernel]
    if not bound:
        raise RefusedError(
            f"This kernel never held the seat of {grant.id}.",
            next=f"`aisec grant show {grant.id}` shows those that did.",
            code="kernel-not-bound",
        )
    if bound[-1].confirmed:
        raise ConflictError(
            f"The ending of this kernel is confirmed already: {bound[-1].confirmed}.",
            next="There is nothing to repeat.",
            code="ending-confirmed",
        )
