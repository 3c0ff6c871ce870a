"""An ordinary kernel that marks its outputs as the keeper does once ``opened`` is set."""

from __future__ import annotations

import base64
import os
import sys
from typing import Any

from ipykernel.kernelapp import IPKernelApp
from jupyter_client.session import Session

from jupyter_aisec.sealed.messages import GUARD_VARIABLE
from jupyter_aisec.sealed.release import ReleaseKey

_key = ReleaseKey.generate()
MARK = {
    "recipients": [
        {
            "artifact": "dataset/digits",
            "seal_id": "seal_1",
            "output_key": base64.b64encode(_key.public).decode(),
        }
    ]
}
state = {"opened": False}
_msg = Session.msg


def marked_msg(self: Session, msg_type: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    message = _msg(self, msg_type, *args, **kwargs)
    if state["opened"]:
        message["metadata"]["aisec"] = MARK
    return message


if __name__ == "__main__":
    Session.msg = marked_msg  # type: ignore[method-assign]
    app = IPKernelApp.instance()
    app.initialize(sys.argv[1:])
    app.shell.user_ns.update(state=state, mark=MARK, guard=os.environ.get(GUARD_VARIABLE))
    app.start()
