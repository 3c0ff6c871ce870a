"""Which notebook uses which kernel, from the server's own table of sessions."""

from __future__ import annotations

from jupyter_server.services.sessions.sessionmanager import SessionManager

from jupyter_aisec.server.openings import plain_path

__all__ = ["ServerSessions"]


class ServerSessions:
    """Reads the table that :class:`SessionManager` keeps (SQLite, in memory by default).

    A session manager's own questions are coroutines; a save cannot wait for one.
    """

    def __init__(self, manager: SessionManager) -> None:
        self._manager = manager

    def kernels_of(self, path: str) -> list[str]:
        """The kernels of the sessions at ``path``."""
        return [kernel for at, kernel in self._rows() if plain_path(at) == plain_path(path)]

    def notebooks_of(self, kernel: str) -> list[str]:
        """The paths of the sessions that use ``kernel``."""
        return [plain_path(at) for at, one in self._rows() if one == kernel]

    def _rows(self) -> list[tuple[str, str]]:
        self._manager.cursor  # noqa: B018  (makes the table)
        rows = self._manager.connection.cursor().execute("SELECT path, kernel_id FROM session")
        return [(str(path), str(kernel)) for path, kernel in rows.fetchall()]
