"""A real OS keyring for tests: GNOME's Secret Service on a session bus of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEEDED = ("dbus-daemon", "gnome-keyring-daemon")


@contextmanager
def secret_service(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a log-in with an unlocked keyring, all of it below ``folder``."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    assert not missing, f"as root: apt-get install gnome-keyring dbus-daemon ({missing})"
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    environment = {
        **{name: value for name, value in os.environ.items() if "AISEC" not in name},
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_RUNTIME_DIR": str(runtime),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.SecretService.Keyring",
    }
    (folder / "data" / "keyrings").mkdir(parents=True)
    bus = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--print-address=1"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert bus.stdout is not None
        environment["DBUS_SESSION_BUS_ADDRESS"] = bus.stdout.readline().strip()
        keyring = subprocess.Popen(
            ["gnome-keyring-daemon", "--unlock", "--components=secrets", "--foreground"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert keyring.stdin is not None
            assert keyring.stdout is not None
            keyring.stdin.write(b"a password")
            keyring.stdin.close()
            keyring.stdout.readline()  # said once it is on the bus
            yield environment
        finally:
            keyring.terminate()
            keyring.wait()
    finally:
        bus.terminate()
        bus.wait()
