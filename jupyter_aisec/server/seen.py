"""What one server has seen of its kernels' messages, for the guard and the connections."""

from __future__ import annotations

from jupyter_aisec.sealed.outputs import OutputSealer
from jupyter_aisec.server.digests import Digests
from jupyter_aisec.server.executions import Executions
from jupyter_aisec.server.openings import Openings, Sessions
from jupyter_aisec.server.proofs import Proofs

__all__ = ["Seen"]


class Seen:
    """One for each server; holds no output, only digests, marks and names."""

    def __init__(self, sessions: Sessions, proofs: Proofs) -> None:
        self.executions = Executions()
        self.digests = Digests()
        self.openings = Openings(sessions)
        self.sealer = OutputSealer()
        self.proofs = proofs
