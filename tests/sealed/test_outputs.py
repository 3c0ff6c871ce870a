"""Sealed outputs: they show nothing, and take every key to open."""

from __future__ import annotations

import base64
import json

import msgspec
import nbformat
import pytest

from jupyter_aisec.errors import MalformedError, SealBrokenError, WrongKeyError
from jupyter_aisec.sealed import outputs as o
from jupyter_aisec.sealed.release import ReleaseKey

KEYS = {
    o.OutputKey(artifact="dataset/digits", seal_id="seal_1"): ReleaseKey.generate(),
    o.OutputKey(artifact="weights/minilm", seal_id="seal_2"): ReleaseKey.generate(),
}
PUBLIC = {key: private.public for key, private in KEYS.items()}
OUTPUTS = {
    "stream": {"output_type": "stream", "name": "stdout", "text": "needle"},
    "result": {
        "output_type": "execute_result",
        "execution_count": 3,
        "data": {"text/plain": "needle", "text/html": "<b>needle</b>"},
        "metadata": {},
    },
    "display": {"output_type": "display_data", "data": {"image/png": "needle=="}, "metadata": {}},
    "error": {"output_type": "error", "ename": "needle", "evalue": "e", "traceback": ["needle"]},
}


def bundle_of(output: dict) -> dict:
    return output["data"][o.MIME_TYPE]


@pytest.mark.parametrize("kind", OUTPUTS)
def test_it_shows_nothing_and_opens_as_it_was(kind):
    output = o.seal_output(OUTPUTS[kind], PUBLIC)
    assert "needle" not in json.dumps(output)
    assert "dataset/digits, weights/minilm" in output["data"]["text/plain"]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(outputs=[nbformat.from_dict(output)])]
    )
    nbformat.validate(notebook)
    sealed = o.read_output(json.loads(json.dumps(bundle_of(output))))
    content_key = o.unwrap_content_key(sealed.header, KEYS.__getitem__)
    assert o.open_output(sealed, content_key) == OUTPUTS[kind]


@pytest.mark.parametrize("lost", [0, 1])
def test_every_artifacts_key_is_needed(lost):
    sealed = o.read_output(bundle_of(o.seal_output(OUTPUTS["stream"], PUBLIC)))
    keys = dict(KEYS)
    keys[sorted(keys)[lost]] = ReleaseKey.generate()
    with pytest.raises(WrongKeyError):
        o.unwrap_content_key(sealed.header, keys.__getitem__)


def test_the_content_key_of_one_output_opens_no_other():
    one, two = (o.read_output(bundle_of(o.seal_output(OUTPUTS["stream"], PUBLIC))) for _ in "12")
    with pytest.raises(WrongKeyError):
        o.open_output(two, o.unwrap_content_key(one.header, KEYS.__getitem__))
    with pytest.raises(WrongKeyError):
        o.open_output(two, b"short")


def test_a_header_for_another_ciphertext_gives_no_key():
    bundles = [bundle_of(o.seal_output(OUTPUTS["stream"], PUBLIC)) for _ in "12"]
    mixed = bundles[0]["header"] | {"ciphertext_sha256": bundles[1]["header"]["ciphertext_sha256"]}
    sealed = o.read_output({"header": mixed, "ciphertext": bundles[1]["ciphertext"]})
    with pytest.raises(WrongKeyError):
        o.unwrap_content_key(sealed.header, KEYS.__getitem__)


def test_a_changed_output_is_found():
    bundle = bundle_of(o.seal_output(OUTPUTS["stream"], PUBLIC))
    sealed = o.read_output(bundle | {"ciphertext": "AAAA"})
    with pytest.raises(SealBrokenError) as caught:
        o.open_output(sealed, bytes(32))
    assert caught.value.code == "output-changed"


@pytest.mark.parametrize("fault", ["not-an-object", "other-format", "no-keys", "surplus-field"])
def test_a_malformed_bundle_is_refused(fault):
    bundle = bundle_of(o.seal_output(OUTPUTS["stream"], PUBLIC))
    broken = {
        "not-an-object": "text",
        "other-format": bundle | {"header": bundle["header"] | {"format": "v2"}},
        "no-keys": bundle | {"header": bundle["header"] | {"keys": []}},
        "surplus-field": bundle | {"x": 1},
    }[fault]
    with pytest.raises(MalformedError):
        o.read_output(broken)


def test_an_output_without_an_artifact_cannot_be_sealed():
    with pytest.raises(ValueError, match="at least one"):
        o.seal_output(OUTPUTS["stream"], {})


@pytest.mark.parametrize(
    "value",
    [2**53, -(10**400), "\ud800", "é😀", 1e308, 0.1, float("inf"), {"b": [None], "a": True}],
    ids=["integer", "long", "surrogate", "text", "float", "fraction", "infinity", "nested"],
)
def test_whatever_an_output_holds_comes_back_and_keeps_its_ciphertext(value):
    output = {
        "output_type": "display_data",
        "data": {"application/json": {"value": value}, "text/plain": repr(value)},
        "metadata": {},
    }
    sealer = o.OutputSealer()
    first = sealer.seal(output, PUBLIC)
    assert sealer.seal(dict(reversed(output.items())), PUBLIC) == first
    sealed = o.read_output(json.loads(json.dumps(bundle_of(first))))
    assert o.open_output(sealed, o.unwrap_content_key(sealed.header, KEYS.__getitem__)) == output


def _deep() -> list:
    deep: list = []
    for _ in range(200_000):
        deep = [deep]
    return deep


@pytest.mark.parametrize("value", [{1, 2}, {(1, 2): 3}, _deep()], ids=["set", "key", "depth"])
def test_what_is_not_json_cannot_be_sealed(value):
    with pytest.raises(MalformedError):
        o.seal_output({"output_type": "stream", "text": value}, PUBLIC)


@pytest.mark.parametrize("plain", [b"{", b"[]", "é".encode(), b"[" * 200_000, b"1" * 5000])
def test_anybody_can_seal_so_what_comes_out_is_checked(monkeypatch, plain):
    monkeypatch.setattr(o, "_plain", lambda output: plain)
    sealed = o.read_output(bundle_of(o.seal_output({}, PUBLIC)))
    with pytest.raises(MalformedError):
        o.open_output(sealed, o.unwrap_content_key(sealed.header, KEYS.__getitem__))


def test_beside_a_sealed_output_nothing_gets_through():
    sealer = o.OutputSealer()
    sealed = sealer.seal(OUTPUTS["stream"], PUBLIC)
    more = {
        **sealed,
        "data": {**sealed["data"], "text/html": "needle"},
        "metadata": {"x": "needle"},
    }
    assert sealer.seal(more, PUBLIC) == sealed
    posing = {**sealed, "data": {o.MIME_TYPE: "needle"}}
    assert "needle" not in json.dumps(sealer.seal(posing, PUBLIC))
    assert "needle" not in json.dumps(sealer.seal({**sealed, "data": ["needle"]}, PUBLIC))


def test_saving_twice_gives_equal_files(monkeypatch):
    sealer = o.OutputSealer()
    first = sealer.seal(OUTPUTS["stream"], PUBLIC)
    assert sealer.seal(dict(OUTPUTS["stream"]), PUBLIC) == first
    assert sealer.seal(first, PUBLIC) == first
    assert sealer.seal(OUTPUTS["error"], PUBLIC) != first
    one = dict(list(PUBLIC.items())[:1])
    assert sealer.seal(OUTPUTS["stream"], one) != first
    monkeypatch.setattr(o, "_KEPT", 3)
    sealer.seal(OUTPUTS["display"], PUBLIC)
    assert sealer.seal(OUTPUTS["stream"], PUBLIC) != first  # remembered no longer


def test_what_only_looks_sealed_is_sealed_again():
    """A kernel can put anything where the ciphertext stands."""
    genuine = o.seal_output(OUTPUTS["stream"], PUBLIC)
    hidden = base64.b64encode(b"needle " * 20).decode()
    forged = json.loads(json.dumps(genuine))
    forged["data"][o.MIME_TYPE]["ciphertext"] = hidden
    sealer = o.OutputSealer()
    for output in (genuine, forged):
        again = sealer.seal(output, PUBLIC)
        assert hidden not in json.dumps(again)
        sealed = o.read_output(bundle_of(again))
        within = o.open_output(sealed, o.unwrap_content_key(sealed.header, KEYS.__getitem__))
        assert within == json.loads(json.dumps(output))


def test_what_lay_on_the_disk_is_kept_as_it_is(monkeypatch):
    genuine = o.seal_output(OUTPUTS["stream"], PUBLIC)
    sealer = o.OutputSealer()
    for found in (OUTPUTS["stream"], "odd", {"data": 3}, genuine):
        sealer.adopt(found)
    assert sealer.seal(genuine, PUBLIC) == genuine
    monkeypatch.setattr(o, "_SEALED", 1)
    sealer.adopt(o.seal_output(OUTPUTS["error"], PUBLIC))
    assert sealer.seal(genuine, PUBLIC) != genuine  # remembered no longer


HEADER = o.read_output(bundle_of(o.seal_output(OUTPUTS["stream"], PUBLIC))).header


@pytest.mark.parametrize(
    "changes",
    [
        {"wrapped": HEADER.wrapped[:-1]},
        {"wrapped": HEADER.wrapped + b"\0"},
        {"keys": HEADER.keys[:1]},
        {"keys": HEADER.keys * 2},
        {"keys": ()},
        {"keys": HEADER.keys * 51, "wrapped": bytes(32 + 102 * o.SEALED_OVERHEAD)},
    ],
    ids=["cut", "longer", "a key less", "keys twice", "no key", "too many"],
)
def test_a_header_of_another_size_is_not_unwrapped(changes):
    def never(key: o.OutputKey) -> ReleaseKey:
        raise AssertionError

    with pytest.raises(MalformedError) as caught:
        o.unwrap_content_key(msgspec.structs.replace(HEADER, **changes), never)
    assert caught.value.code == "output-malformed"


@pytest.mark.parametrize(
    "changes",
    [
        {"wrapped": bytes(len(HEADER.wrapped))},
        {"keys": HEADER.keys[::-1]},
        {"keys": (HEADER.keys[1], HEADER.keys[1])},
        {"keys": (msgspec.structs.replace(HEADER.keys[0], artifact="dataset/x"), HEADER.keys[1])},
        {"ciphertext_sha256": "0" * 64},
    ],
    ids=["wrapped", "order", "one key twice", "another artifact", "another ciphertext"],
)
def test_a_changed_header_gives_no_key(changes):
    by_seal_id = {key.seal_id: private for key, private in KEYS.items()}
    with pytest.raises(WrongKeyError) as caught:
        o.unwrap_content_key(
            msgspec.structs.replace(HEADER, **changes), lambda key: by_seal_id[key.seal_id]
        )
    assert caught.value.code == "output-header-changed"


def test_who_holds_the_outer_key_alone_gets_nothing_that_is_wrapped_within():
    """One key's layer is never as long as a content key, so none is given out as one."""
    outer = HEADER.keys[-1]
    alone = msgspec.structs.replace(HEADER, keys=(outer,))
    with pytest.raises(MalformedError):
        o.unwrap_content_key(alone, KEYS.__getitem__)
    fitting = msgspec.structs.replace(alone, wrapped=HEADER.wrapped[: 32 + o.SEALED_OVERHEAD])
    with pytest.raises(WrongKeyError):
        o.unwrap_content_key(fitting, KEYS.__getitem__)


@pytest.mark.parametrize(
    "output",
    [
        {"output_type": "execute_input", "code": "1"},
        {"output_type": "display_data", "data": "text", "metadata": {}},
        {"output_type": "display_data", "data": {}},
        {"output_type": "execute_result", "data": {}, "metadata": {}, "execution_count": "1"},
        {"output_type": "stream", "name": "stdin", "text": ""},
        {"output_type": "error", "ename": "E", "evalue": "e", "traceback": "text"},
        {"data": {}},
    ],
    ids=["type", "data", "no metadata", "count", "stream", "traceback", "no type"],
)
def test_only_what_an_output_can_be_comes_out(output):
    sealed = o.read_output(bundle_of(o.seal_output(output, PUBLIC)))
    with pytest.raises(MalformedError) as caught:
        o.open_output(sealed, o.unwrap_content_key(sealed.header, KEYS.__getitem__))
    assert caught.value.code == "output-unreadable"


def test_nothing_beside_the_fields_of_an_output_comes_out():
    sealed = o.read_output(bundle_of(o.seal_output({**OUTPUTS["error"], "more": 1}, PUBLIC)))
    content_key = o.unwrap_content_key(sealed.header, KEYS.__getitem__)
    assert o.open_output(sealed, content_key) == OUTPUTS["error"]
