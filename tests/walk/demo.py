"""``make demo``: the walk on this machine, told step by step, in about a minute.

Everything is real: the broker, the two accounts, the secure kernel, the sealed files. It
stops at the first step that does not hold.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.walk.walk import NOTEBOOKS, Walk, damaged

FOLDER = Path(__file__).parents[2] / ".demo"

BACKDATED = "UPDATE entries SET at = '2026-01-01T00:00:00.000Z' WHERE type = 'grant.approved'"


class Story:
    """Numbers and times the steps as they are told."""

    def __init__(self) -> None:
        self._count = 0
        self._since = time.monotonic()

    def step(self, text: str) -> None:
        self._count += 1
        print(f"\n{self._count}. {text}", flush=True)

    def tell(self, text: str) -> None:
        now = time.monotonic()
        print(f"   {text}  ({now - self._since:.1f} s)", flush=True)
        self._since = now


def introduction(ready: Mapping[str, str]) -> tuple[str, str]:
    """What `aisec quickstart` said of itself."""
    return ready["warning"], f"The broker's wrapping keys are in {ready['keys']}."


def main() -> int:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(mode=0o700)
    story = Story()
    story.step("A broker, two accounts, sealed samples")
    with Walk(FOLDER) as walk:
        for line in introduction(walk.ready):
            story.tell(line)
        walk.trust.write_text(walk.aisec("broker", "trust", person="researcher").expect().out)

        story.step("New versions of both inputs, each with something random to look for later")
        walk.plant()
        for artifact in walk.aisec("artifact", "list", "--json", person="researcher").json:
            story.tell(f"{artifact['artifact']} version {artifact['version']} is sealed.")

        story.step("The quickstart notebook, in the secure kernel; the approver at a terminal")
        walk.approve_what_comes()
        notebook = walk.notebook(NOTEBOOKS / "quickstart.ipynb")
        cells = json.loads(notebook.read_text())["cells"]
        story.tell(f"{sum(cell['cell_type'] == 'code' for cell in cells)} cells ran: {notebook}")
        for grant in walk.aisec("grant", "list", "--json", person="approver").expect().json:
            by = ", ".join(one["person"] for one in grant["approvals"])
            story.tell(f"{grant['id']} for {' '.join(grant['artifacts'])}, approved by {by}.")

        story.step("The chain of custody of what was trained")
        verify = ("verify", "weights/digits-net", "--trust", walk.trust)
        print(walk.aisec(*verify, person="researcher").expect().out)
        sealed = walk.version_folder("weights/digits-net")
        for file in sorted(path.name for path in sealed.iterdir()):
            with damaged(sealed, file, change=(-40,)) as copy:
                found = walk.aisec("verify", copy, "--trust", walk.trust, "--json")
                failed = [one for one in found.expect(1).json["checks"] if not one["ok"]]
                story.tell(f"One byte of {file} changed: check {failed[0]['name']!r} fails.")

        story.step("The whole ledger, and every row beside it")
        walk.stop()
        audit = ("audit", "verify", "--home", walk.folder / "broker")
        story.tell(walk.aisec(*audit).expect().out.strip())
        with walk.edited(BACKDATED):
            story.tell("The approval backdated in the database:")
            print(walk.aisec(*audit).expect(1).err.rstrip())
        walk.aisec(*audit).expect()

        story.step("Every file that changed meanwhile, searched for what was planted")
        hits = walk.scan()
        for hit in hits:
            print(f"   FOUND {hit}")
        story.tell(f"{len(hits)} hits.")
    return 1 if hits else 0


if __name__ == "__main__":
    sys.exit(main())
