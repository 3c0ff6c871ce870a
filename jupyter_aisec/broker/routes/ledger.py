"""The ledger in the open: C2SP verifier key, checkpoint and tiles; bodies for those concerned."""

from __future__ import annotations

from itertools import accumulate, takewhile
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import PlainTextResponse

from jupyter_aisec.broker.identity import BrokerDep, SignedInDep, require_role, sees_grant
from jupyter_aisec.broker.views import (
    AuditView,
    EntryView,
    FindingView,
    TrustView,
)
from jupyter_aisec.errors import NotFoundError, ProofError
from jupyter_aisec.ledger.bodies import OutputReleased
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.ledger.tiles import TILE_WIDTH, entry_bundle, parse_tile_path, tile_hashes

router = APIRouter(tags=["ledger"])

_MAX_ENTRIES = 1000
_MAX_BYTES = 8 << 20  # of bodies in one answer, or a single larger one
_TILE = r"^(?:entries|[0-9]|[1-5][0-9])/(?:x[0-9]{3}/)*[0-9]{3}(?:\.p/[1-9][0-9]{0,2})?$"


@router.get("/v1/ledger/key", response_class=PlainTextResponse, summary="C2SP verifier key")
def key(broker: BrokerDep) -> str:
    return broker.ledger.signer.verifier_key


@router.get(
    "/v1/ledger/checkpoint", response_class=PlainTextResponse, summary="C2SP tlog-checkpoint"
)
def checkpoint(broker: BrokerDep) -> str:
    with broker.ledger.reading():
        return broker.ledger.checkpoint


@router.get(
    "/v1/ledger/tile/{path:path}",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
    summary="C2SP tlog-tiles",
)
def tile(broker: BrokerDep, path: Annotated[str, Path(pattern=_TILE)]) -> Response:
    wanted = parse_tile_path(f"tile/{path}")
    with broker.ledger.reading() as (state, _):
        try:
            if wanted.level == "entries":
                first = wanted.index * TILE_WIDTH
                entries = broker.ledger.entries[first : first + wanted.width]
                if len(entries) < wanted.width:
                    raise ProofError("The ledger is not so large.")
                content = entry_bundle([entry.leaf for entry in entries])
            else:
                content = tile_hashes(state.tree, wanted)
        except ProofError as error:
            raise NotFoundError(
                "There is no such tile yet.",
                next="GET /v1/ledger/checkpoint tells the size.",
                code="tile-unknown",
            ) from error
    full = wanted.width == TILE_WIDTH
    caching = "max-age=31536000, immutable" if full else "no-cache"
    return Response(
        content, media_type="application/octet-stream", headers={"Cache-Control": caching}
    )


@router.get("/v1/ledger/entries", summary="Entries with their bodies, from (inclusive) to (not)")
def entries(
    broker: BrokerDep,
    who: SignedInDep,
    start: Annotated[int, Query(alias="from", ge=0, le=2**53)] = 0,
    end: Annotated[int | None, Query(alias="to", ge=0, le=2**53)] = None,
) -> list[EntryView]:
    """Admins and approvers see every entry, others those of their own grants.

    At most 1,000 entries, and at most 8 MiB of bodies: ask again from the last one on, until
    there is none.
    """
    everything = bool({"admin", "approver"} & set(who.roles))
    with broker.ledger.reading() as (state, _):
        chosen = broker.ledger.entries[start : min(end or 2**53, start + _MAX_ENTRIES)]
        seen = [
            entry
            for entry in chosen
            if everything or any(sees_grant(who, state, grant) for grant in grants_of(entry))
        ]
    sizes = accumulate(len(entry.body) for entry in seen)
    fitting = sum(1 for _ in takewhile(lambda size: size <= _MAX_BYTES, sizes))
    return [EntryView.of(entry) for entry in seen[: max(1, fitting)]]


@router.get("/v1/trust", summary="The trust file, for `aisec verify --trust`")
def trust(broker: BrokerDep) -> TrustView:
    return TrustView.model_validate_json(msgspec.json.encode(broker.trust))


@router.get("/v1/audit", summary="Check every column of every row of every table, now")
def audit(broker: BrokerDep, who: SignedInDep) -> AuditView:
    require_role(who, "admin", "approver")
    with broker.ledger.reading():
        findings = broker.ledger.audit()
        return AuditView(
            size=len(broker.ledger.entries),
            checkpoint=broker.ledger.checkpoint,
            findings=[FindingView(**msgspec.to_builtins(finding)) for finding in findings],
        )


def grants_of(entry: Entry) -> tuple[str, ...]:
    """The grants that an entry is about: one, or those that an output was opened under."""
    body = entry.content()
    if isinstance(body, OutputReleased):
        return tuple(dict.fromkeys(source.grant for source in body.sources))
    grant = getattr(body, "grant", None) or getattr(body, "subject", None)
    return (grant,) if isinstance(grant, str) else ()
