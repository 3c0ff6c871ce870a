"""The chain of custody as a tree for people."""

from __future__ import annotations

import msgspec
import pytest

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.people import canonical, sign
from jupyter_aisec.provenance import Bundle, Node, chain_of_custody, compare, parse_bundle
from jupyter_aisec.provenance.chain import Chain
from jupyter_aisec.provenance.facts import Cell, Gpu, Record
from jupyter_aisec.provenance.statement import (
    STATEMENT_TYPE,
    make_statement,
    signed_differences,
)
from tests.provenance.world import Walked


def test_it_leads_back_to_every_person(walked: Walked) -> None:
    tree = str(chain_of_custody(parse_bundle(walked.bundle)))
    lines = tree.splitlines()
    assert lines[0].startswith(
        f"weights/digits-net version 1 ({walked.seal_id}), sealed by researcher"
    )
    for part in (
        f"└─ {walked.world.run}: 9 training steps in researcher's kernel, isolation full (claimed)",
        "3 cells",
        "cell 1: sha256:",
        "the observers agree",
        "├─ dataset/digits version 1",
        "└─ weights/minilm version 1",
        f"{walked.world.grant}: keys released in entry",
        "asked by researcher for 1h in entry",
        ": Ablation 12",
        "approved by approver in entry",
    ):
        assert part in tree


def _changed(walked: Walked, **changes: object) -> Bundle:
    """A bundle with another record; showing does not verify."""
    record = msgspec.structs.replace(walked.record, **changes)
    envelope = sign(canonical(record), Record.payload_type, walked.world.keys["kernel"])
    bundle = parse_bundle(walked.bundle)
    chain = Chain(one.entry for one in bundle.entries)
    entry, _ = chain.sealed(record.output.seal_id)
    releases = [(one.index, body) for one, body in chain.releases(record.kernel, entry.index)]
    differences = compare(record, None, releases)
    statement = sign(
        canonical(make_statement(chain, envelope, None, differences)),
        STATEMENT_TYPE,
        walked.world.keys["broker"],
    )
    return msgspec.structs.replace(bundle, record=envelope, observation=None, statement=statement)


def test_many_cells_are_counted_and_a_few_shown(walked: Walked) -> None:
    cells = tuple(
        Cell(n=n, cell_id=None, sha256="0" * 64, started="", finished="", ok=n != 2)
        for n in range(1, 26)
    )
    tree = str(chain_of_custody(_changed(walked, cells=cells)))
    assert "25 cells" in tree
    assert "cell 2: sha256:0000000000000000… failed" in tree
    assert "cell 21" not in tree
    assert "and 5 more" in tree


def test_what_is_missing_is_said(walked: Walked) -> None:
    tree = str(chain_of_custody(_changed(walked, cut_short="revoked", inputs=())))
    assert "cut short: revoked" in tree
    assert "the observers differ" in tree
    assert "Nobody watched the kernel from outside" in tree
    assert "the record does not name it" in tree


def test_what_it_ran_on_is_told(walked: Walked) -> None:
    gpu = Gpu(uuid="GPU-1", name="A card", memory=1, driver="1", used=True)
    changed = _changed(walked, gpus=(gpu,), frameworks=("lightning 2.6.0",), cells_missing=4)
    tree = str(chain_of_custody(changed))
    for part in ("A card, GPU-1", "lightning 2.6.0", "3 cells, 4 missing", "packages"):
        assert part in tree


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b"[]",
        b'{"predicate":{"runDetails":{"byproducts":1}}}',
        b'{"predicate":{"runDetails":{"byproducts":[]}}}',
        b'{"predicate":{"runDetails":{"byproducts":[{"content":"*","name":"differences"}]}}}',
        b'{"predicate":{"runDetails":{"byproducts":[{"content":"e30=","name":"differences"}]}}}',
    ],
    ids=["nothing", "list", "number", "none", "no base64", "no list of differences"],
)
def test_a_statement_of_another_shape_is_malformed(walked: Walked, payload: bytes) -> None:
    with pytest.raises(MalformedError):
        signed_differences(sign(payload, STATEMENT_TYPE, walked.world.keys["broker"]))


def test_text_by_people_cannot_drive_the_terminal(walked: Walked) -> None:
    tree = str(chain_of_custody(_changed(walked, cut_short="\x1b[2J\u202eevil\n")))
    assert "\x1b" not in tree
    assert "\\x1b[2J\\u202eevil\\n" in tree


def test_a_node_is_its_line_and_what_is_below() -> None:
    tree = Node(
        text="a",
        children=(Node(text="b", children=(Node(text="c"),)), Node(text="d")),
    )
    assert str(tree) == "a\n├─ b\n│  └─ c\n└─ d"
