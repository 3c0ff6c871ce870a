"""Notebooks in real kernels, confined or not, started by jupyter_client as a front end does."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec

from tests.faults.following import words
from tests.faults.person import JOURNAL, PATH, Met, Notebook, Person, grant_in
from tests.faults.table import Row
from tests.kernel.conftest import SecureKernel, World

OURS = "%load_ext jupyter_aisec"


class KernelNotebook(Notebook):
    """A notebook whose cells run in a kernel's process."""

    def __init__(self, kernel: SecureKernel, person: Person) -> None:
        self.kernel = kernel
        self.person = person

    def cell(self, source: str) -> str:
        ran = self.kernel.run(source).ok()
        if source.startswith("!"):  # a command of a shell, in the kernel
            assert self.kernel.run("assert _exit_code == 0").ok(), ran.text
        if source.startswith(("%", "!")):
            JOURNAL.done(*words(source.removeprefix("!")))
        return str(ran.text)

    def opens_nothing(self, row: Row, source: str) -> Met:
        names = "print(sorted(name for name in globals() if name[0] != '_'))"
        before = self.cell(names)
        ran = self.kernel.run(source)
        assert ran.reply["status"] == "error", ran.text
        what, *_, advice, code = ran.reply["traceback"]
        assert ": " in what
        assert code.strip() == f"({row.code})", ran.text
        assert self.cell(names).split() == before.split()  # a card may have moved meanwhile
        return Met(row, advice.removeprefix("→ "), what=what)

    def holds(self, name: str, value: bytes) -> None:
        digest = hashlib.sha256(value).digest()
        self.cell(f"import hashlib; assert hashlib.sha256({name}).digest() == {digest!r}")

    def ask(self, request: str) -> str:
        self.cell(request)  # its card is a widget: no text
        return grant_in(self.cell("%grant list --pending"))  # the newest comes first


def secure_kernel(person: Person, folder: Path) -> KernelNotebook:
    """ "Python 3 (secure)", in a front end whose server seals outputs."""
    kernel = SecureKernel(World(person.broker), folder, guarded=True, PATH=PATH)
    return _started(kernel, person)


def ordinary_kernel(person: Person, folder: Path, **environment: str) -> KernelNotebook:
    """ "Python 3", with our extension loaded."""
    kernel = SecureKernel(World(person.broker), folder, **environment)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.manager._kernel_spec = KernelSpec(
        argv=command, display_name="Python 3", language="python"
    )
    notebook = _started(kernel, person)
    notebook.cell(OURS)
    return notebook


def _started(kernel: SecureKernel, person: Person) -> KernelNotebook:
    try:
        kernel.start()
    except BaseException:
        kernel.stop()
        raise
    return KernelNotebook(kernel, person)
