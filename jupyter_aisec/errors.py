"""Every error this project raises on purpose: one family.

::

    AisecError
    ├── UsageError                  the command or call was wrong (exit code 2)
    ├── MalformedError              input that is not what it claims to be
    │   ├── PlaintextError          plaintext where a sealed file is expected
    │   └── PickleRefusedError      a pickle where weights are expected
    ├── SignatureError              a signature that does not verify, or by the wrong key
    ├── LedgerError                 the log and its signed checkpoints disagree
    │   ├── ProofError              an inclusion or consistency proof that does not verify
    │   └── TamperedError           a stored row that is not what was logged (table, row, column)
    ├── SealError                   a sealed file or artifact that cannot be opened
    │   ├── SealBrokenError         changed, truncated, reordered or swapped ciphertext
    │   └── WrongKeyError           a key that is not the one the manifest commits to
    ├── RefusedError                a rule said no (policy, state of a grant, identity)
    │   ├── NotFoundError           no such artifact, grant, person, run
    │   ├── IdentityError           who is asking is not known, or not whom they say
    │   └── ConflictError           something that concerns the action came in between
    ├── BrokerError                 the broker could not be asked
    │   ├── BrokerUnreachableError
    │   └── BrokerFaultError        it answered with something that is not an answer
    ├── KeyStoreError               a key store that is missing, read-only, or lost a key
    ├── ConfinementError            the confinement could not be made or proved
    └── VerificationError           a chain of custody with a failed check

Each carries a stable ``code`` (kebab-case, one per fault: the row of the fault table in
``docs/faults.md``), says *what* happened, and what to do *next*; a program gets the same as
a problem document (RFC 9457).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, ClassVar

__all__ = [
    "PROBLEM_MEDIA_TYPE",
    "AisecError",
    "BrokerError",
    "BrokerFaultError",
    "BrokerUnreachableError",
    "ConfinementError",
    "ConflictError",
    "IdentityError",
    "KeyStoreError",
    "LedgerError",
    "MalformedError",
    "NotFoundError",
    "PickleRefusedError",
    "PlaintextError",
    "ProofError",
    "RefusedError",
    "SealBrokenError",
    "SealError",
    "SignatureError",
    "TamperedError",
    "UsageError",
    "VerificationError",
    "WrongKeyError",
]

PROBLEM_MEDIA_TYPE = "application/problem+json"


class AisecError(Exception):
    """Something went wrong in a way we can explain.

    ``what`` is one sentence about what happened, ``next`` one about what to do (often a
    command), ``code`` the stable name of the fault; a class has a default for it.
    """

    default_code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, next: str = "", code: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.next = next
        self.code = code or self.default_code

    def __str__(self) -> str:
        return f"{self.what} {self.next}".rstrip()

    def problem(self, status: int | None = None) -> dict[str, Any]:
        """The error as a problem document (RFC 9457); ``status`` where it is an HTTP answer."""
        answer = {} if status is None else {"status": status}
        return {
            "type": f"urn:jupyter-aisec:error:{self.code}",
            "title": type(self).__name__ if status is None else HTTPStatus(status).phrase,
            **answer,
            "detail": self.what,
            "next": self.next,
            "code": self.code,
        }


class UsageError(AisecError):
    default_code = "usage"
    exit_code = 2


class MalformedError(AisecError):
    default_code = "malformed"


class PlaintextError(MalformedError):
    default_code = "plaintext-not-sealed"


class PickleRefusedError(MalformedError):
    default_code = "pickle-refused"


class SignatureError(AisecError):
    default_code = "signature-invalid"


class LedgerError(AisecError):
    default_code = "ledger-invalid"


class ProofError(LedgerError):
    default_code = "proof-invalid"


class TamperedError(LedgerError):
    default_code = "ledger-tampered"


class SealError(AisecError):
    default_code = "seal-unreadable"


class SealBrokenError(SealError):
    default_code = "seal-broken"


class WrongKeyError(SealError):
    default_code = "wrong-key"


class RefusedError(AisecError):
    default_code = "refused"


class NotFoundError(RefusedError):
    default_code = "not-found"


class IdentityError(RefusedError):
    default_code = "identity"


class ConflictError(RefusedError):
    default_code = "conflict"


class BrokerError(AisecError):
    default_code = "broker"


class BrokerUnreachableError(BrokerError):
    default_code = "broker-unreachable"


class BrokerFaultError(BrokerError):
    default_code = "broker-fault"


class KeyStoreError(AisecError):
    default_code = "key-store"


class ConfinementError(AisecError):
    default_code = "confinement"


class VerificationError(AisecError):
    default_code = "verification-failed"
