"""``%provenance``: a run and its chain of custody, as the bundle of its result tells it.

This shows; it does not verify. ``aisec verify`` checks every signature and proof, offline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_aisec.errors import UsageError
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.provenance import chain_of_custody, parse_bundle

if TYPE_CHECKING:
    from jupyter_aisec.kernel.face import Face

__all__ = ["show_run"]


def show_run(face: Face, run: str | None) -> None:
    """Prints a run: the one named, or the last one this kernel sealed, or the newest."""
    wanted = run or face.last_run
    runs = face.session.client.http.get("/v1/runs")
    found = [one for one in runs if one["run"] == wanted] if wanted else runs[-1:]
    if not found:
        raise UsageError(
            f"There is no run {wanted[:60]!r}." if wanted else "No run has been recorded yet.",
            next="%provenance alone shows the newest one, and `aisec run list` in a terminal all."
            if wanted
            else "Train something, then %save_secure model as weights/NAME.",
            code="run-unknown",
        )
    bundle = parse_bundle(canonical(face.session.client.bundle(found[0]["seal_ids"][0])))
    print(chain_of_custody(bundle))  # noqa: T201 - the magic's answer
    print(f"\nVerify it: aisec verify {found[0]['run']} --trust FILE")  # noqa: T201
