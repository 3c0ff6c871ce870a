"""An ordinary kernel whose metadata is marked as by the keeper once ``opened`` is set.

With ``KEEPER`` among its arguments: a server then takes it for a kernel behind a keeper. Like
the keeper it lets no mark of the kernel's own pass there. The content is the kernel's.
"""

from __future__ import annotations

import base64
import os
import sys
from typing import Any

from ipykernel.kernelapp import IPKernelApp
from jupyter_client.session import Session

from jupyter_aisec.sealed.messages import GUARD_VARIABLE
from jupyter_aisec.sealed.release import ReleaseKey

KEEPER = "jupyter_aisec.kernel.launch"
_key = ReleaseKey.generate()
MARK = {
    "recipients": [
        {
            "artifact": "dataset/digits",
            "seal_id": f"seal_{os.urandom(8).hex()}",  # a key of its own, so a version of its own
            "output_key": base64.b64encode(_key.public).decode(),
        }
    ]
}
state = {"opened": False}
_msg = Session.msg


def marked_msg(self: Session, msg_type: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    message = _msg(self, msg_type, *args, **kwargs)
    message["metadata"].pop("aisec", None)
    if state["opened"]:
        message["metadata"]["aisec"] = MARK
    return message


if __name__ == "__main__":
    if KEEPER in sys.argv:
        sys.argv.remove(KEEPER)
        Session.msg = marked_msg  # type: ignore[method-assign]
    app = IPKernelApp.instance()
    app.initialize(sys.argv[1:])
    app.shell.user_ns.update(
        state=state, mark=MARK, private=_key, guard=os.environ.get(GUARD_VARIABLE)
    )
    app.start()
