"""The trust file that a home pins; what it is, is the ledger's to say."""

from jupyter_aisec.ledger.trust import Trust, parse_trust

__all__ = ["Trust", "parse_trust"]
