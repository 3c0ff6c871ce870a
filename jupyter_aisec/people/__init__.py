"""People and machines: their keys, what is signed, and who may sign when. Pure."""

from jupyter_aisec.people.canonical import canonical, parse_canonical
from jupyter_aisec.people.directory import Directory, EnrolledKey, Person, Role
from jupyter_aisec.people.dsse import Envelope, Signature, pae, sign, sign_again, verify
from jupyter_aisec.people.keys import KeyKind, PublicKey, SigningKey

__all__ = [
    "Directory",
    "EnrolledKey",
    "Envelope",
    "KeyKind",
    "Person",
    "PublicKey",
    "Role",
    "Signature",
    "SigningKey",
    "canonical",
    "pae",
    "parse_canonical",
    "sign",
    "sign_again",
    "verify",
]
