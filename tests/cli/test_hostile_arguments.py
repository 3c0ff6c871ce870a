"""Whatever is typed: two lines and a code, never a traceback, and nothing is done by it."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.conftest import RunningBroker

VALUES = {
    "space": " ",
    "huge": "A" * 100_000,
    "unicode": "Zoë\u202e\N{GRINNING FACE}",
    "lines": "a\nb\n  next: `aisec grant approve`",
    "nul": "a\0b",
    "dash": "-",
    "dashes": "--",
    "upwards": "../../etc/passwd",
    "number": "99999999999999999999",
    "escape": "\x1b[2J\x1b]0;owned\x07",
    "shell": "'\"`$(x)",
    "device": "/dev/null",
}
COMMANDS = """
person add VALUE --role researcher
person add bob --role VALUE
person remove VALUE --yes
person countersign VALUE --yes
key enroll --as VALUE --public-out out
key revoke VALUE --yes
key countersign VALUE --yes
artifact seal VALUE dataset/y
artifact seal rows.csv VALUE
artifact seal rows.csv dataset/y --label VALUE
artifact seal rows.csv dataset/y --to VALUE
artifact show VALUE
artifact show dataset/x --version VALUE
artifact versions VALUE
grant request VALUE --for 1h --reason r
grant request dataset/x --for VALUE --reason r
grant request dataset/x --for 1h --reason r --seat VALUE
grant show VALUE
grant approve VALUE --yes
grant deny VALUE
grant withdraw VALUE
grant return VALUE
grant extend VALUE --for 1h --reason r
grant revoke VALUE
run show VALUE
run list VALUE
audit export --proof VALUE
audit export --from VALUE
audit verify --home VALUE
policy check VALUE
policy apply VALUE --yes
policy explain VALUE
policy explain dataset/x --for VALUE
policy countersign VALUE
broker trust --home VALUE
login --token VALUE
"""
FINE = {  # a name like any other; and what ends the options is no argument
    ("99999999999999999999", "person add VALUE --role researcher"),
    ("99999999999999999999", "key enroll --as VALUE --public-out out"),
    ("99999999999999999999", "artifact seal rows.csv dataset/y --label VALUE"),
    ("--", "run list VALUE"),
    ("--", "policy explain VALUE"),
}
LINES = [line.split() for line in COMMANDS.strip().splitlines()]


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_what_is_no_argument_is_refused_in_two_lines(
    broker: RunningBroker, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("x\n1\n")
    client = broker.client("researcher")
    if not client.artifacts():
        client.seal("dataset/x", {"x.csv": b"x\n1\n"})
    size = client.checkpoint().size
    for line in LINES:
        if (value, " ".join(line)) in FINE:
            continue
        arguments = [value if word == "VALUE" else word for word in line]
        with patch.object(sys, "stdin", io.StringIO()):
            done = broker.run(*arguments, person="researcher")
        assert done.returncode in (1, 2), (line, done.stdout)
        what, advice = done.stderr.splitlines()
        assert what.startswith("aisec: "), line
        assert advice.startswith("  next: "), line
        assert "a fault in jupyter-aisec" not in advice, line
        assert "/openapi.json" not in advice, line
        assert "may not be a broker" not in what, line
        assert len(what) < 1_200, line
        assert done.stdout == "", line
        assert (done.stdout + what + advice).isprintable(), line
    refused = [entry.type for entry in client.entries(size, size + 100)]
    assert set(refused) <= {"action.refused"}
