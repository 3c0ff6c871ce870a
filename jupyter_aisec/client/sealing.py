"""Registering what was sealed: the signed manifest, where it lies, its keys for the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_aisec.ledger.trust import Trust

if TYPE_CHECKING:
    from jupyter_aisec.sealed.artifact import SealResult

__all__ = ["registration"]


def registration(result: SealResult, url: str, trust: Trust) -> dict[str, Any]:
    """The body of ``POST /v1/artifacts``; its keys open only for the broker that is trusted."""
    deposit = result.deposit(trust.seal_key)
    return {
        "manifest": result.envelope,
        "url": url,
        "keys": deposit.keys,
        "output_key": deposit.output_key,
    }
