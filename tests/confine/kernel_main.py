"""What a kernelspec's ``argv`` starts in these tests: a keeper with a small service.

``python kernel_main.py -f CONNECTION_FILE [partial] [observe]``
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from jupyter_aisec.confine import Inside, Keeper, Message, Outside, Service, run_ipython_kernel
from jupyter_aisec.confine.clean_start import start_clean
from jupyter_aisec.confine.places import SHARED_MEMORY
from tests.confine import measured


def inside(given: Inside) -> int:
    os.environ["AISEC_RELAY"] = given.relay_url
    os.environ["LEVEL"] = str(given.level)
    if "fail" in sys.argv:
        raise RuntimeError("broken on purpose")
    return run_ipython_kernel(given)


def serve(outside: Outside) -> Service:
    from tornado.web import RequestHandler

    seen: list[str] = []
    record = Path(outside.environment["AISEC_TOKEN"]) if "observe" in sys.argv else None

    class Hello(RequestHandler):
        def get(self) -> None:
            self.write({"level": outside.level.name, "seen": seen})

    class Interrupt(RequestHandler):
        async def post(self) -> None:
            await outside.interrupt()

    class End(RequestHandler):
        async def post(self) -> None:
            await outside.tell("stream", {"name": "stderr", "text": "ending"})
            await outside.shut_down()

    class Kill(RequestHandler):
        def post(self) -> None:
            outside.kill()

    def observer(message: Message) -> Message | None:
        seen.append(f"{message.direction} {message.channel} {message.type}")
        if message.type == "stream" and "hush" in message.json("content")["text"]:
            return message.with_parts(content={"name": "stdout", "text": "(sealed)\n"})
        if message.type == "display_data":
            return message.with_parts(metadata={"sealed": True})
        return None

    async def finish(code: int) -> None:
        measured.collect(f"/proc/self/fd/{outside._confined.memory}")
        if record is not None:
            record.write_text(f"ended {code}")

    def refused(method: str, path: str) -> None:
        seen.append(f"refused {method} {path}")

    routes = [("/hello", Hello), ("/interrupt", Interrupt), ("/end", End), ("/kill", Kill)]
    return Service(routes, observer, refused, finish)


if __name__ == "__main__":
    withheld = start_clean()
    measured.keep_in(f"{SHARED_MEMORY}/.aisec")
    least = "full" if "insist" in sys.argv else "none"
    keeper = Keeper(
        sys.argv[2], inside, serve, least=least, try_namespaces="partial" not in sys.argv
    )
    sys.exit(keeper.run(withheld))
