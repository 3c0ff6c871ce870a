"""Weights: what torch had is what torch gets, bit for bit, by both libraries."""

from __future__ import annotations

import contextlib
import json
import struct

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.errors import MalformedError, PickleRefusedError, SealError, UsageError
from jupyter_aisec.sealed import safetensors_header as header
from jupyter_aisec.sealed.weights import _DTYPES, LazyWeights, StateDictContent, load_weights
from tests.effort import examples

MODEL = "model.safetensors"


def content_of(tensors, **metadata: str) -> bytes:
    return b"".join(bytes(c) for c in StateDictContent(tensors, metadata).chunks(MODEL))


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Equal in type, shape and every bit."""
    if (left.dtype, left.shape) != (right.dtype, right.shape):
        return False
    return bytes(left.contiguous().reshape(-1).view(torch.uint8).tolist()) == bytes(
        right.contiguous().reshape(-1).view(torch.uint8).tolist()
    )


def every_dtype() -> dict[str, torch.Tensor]:
    tensors = {}
    for name in _DTYPES.values():
        dtype = getattr(torch, name)
        item = torch.empty(0, dtype=dtype).element_size()
        raw = torch.randint(
            0, 2 if dtype == torch.bool else 256, (3 * 5 * item,), dtype=torch.uint8
        )
        tensors[f"t.{name}"] = raw.view(dtype).view(3, 5)
    return tensors


def test_every_dtype_survives_both_ways(sealed):
    tensors = every_dtype()
    del tensors["t.float8_e8m0fnu"]  # which the other library knows in files only
    with sealed({MODEL: StateDictContent(tensors)}, "weights/x").open() as opened:
        loaded = load_weights(opened)
        plain = safetensors.torch.load(bytes(opened.read(MODEL)))
    assert loaded.keys() == plain.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert same(loaded[name], tensor)
        assert same(plain[name], tensor)


def test_the_bytes_are_those_of_the_formats_own_library():
    tensors = {
        name: tensor
        for name, tensor in every_dtype().items()
        if "8" not in name or name.endswith("int8")
    } | {
        'Ünïcode "quoted"\n': torch.ones(2),
        "scalar": torch.tensor(2.5),
        "empty": torch.ones(0, 3),
    }
    assert content_of(tensors) == safetensors.torch.save(tensors, {"format": "pt"})
    assert content_of({}, a="b") == content_of({}, a="b")


def test_a_type_that_only_the_newest_models_use(sealed):
    tensor = every_dtype()["t.float8_e8m0fnu"]
    opened = sealed({MODEL: StateDictContent({"a": tensor})}, "weights/x").open()
    assert same(load_weights(opened)["a"], tensor)


def test_what_is_not_laid_out_plainly_is_made_plain(sealed):
    base = torch.randn(40, 50)
    tensors = {
        "transposed": base.T,
        "strided": base[::2, 1::3],
        "expanded": torch.ones(3, 1).expand(3, 4),
        "conjugated": torch.randn(4, dtype=torch.complex64).conj(),
        "negated": torch.randn(4, dtype=torch.complex64).conj().imag,
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "a-part-shared": base[:10],
        "another-part-shared": base[5:],
        "scalar": torch.tensor(3, dtype=torch.int64),
        "empty": torch.ones(0, 7),
        "also-empty": torch.ones(7, 0),
    }
    with sealed({MODEL: StateDictContent(tensors)}, "weights/x").open() as opened:
        loaded = load_weights(opened)
        plain = safetensors.torch.load(bytes(opened.read(MODEL)))
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)
        assert torch.equal(plain[name], tensor)


def test_shared_tensors_are_stored_once_and_come_back_shared(sealed):
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(1000, 8)
            self.head = torch.nn.Linear(8, 1000, bias=False)
            self.head.weight = self.embed.weight

    model = Tied()
    content = StateDictContent(model.state_dict(), {"run": "run_1"})
    with sealed({MODEL: content}, "weights/x").open() as opened:
        raw = bytes(opened.read(MODEL))
        weights = LazyWeights(opened)
        loaded = weights.load()
        assert len(weights) == 2
        assert sorted(weights) == ["embed.weight", "head.weight"]
        assert torch.equal(weights["head.weight"], model.embed.weight)
    assert len(raw) < 2 * 32_000
    assert loaded["embed.weight"] is loaded["head.weight"]
    other = Tied()
    other.load_state_dict(loaded)
    assert torch.equal(other.head.weight, model.head.weight)


def test_the_formats_own_loader_knows_our_shared_tensors(sealed, tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    model[1].weight = model[0].weight
    (tmp_path / MODEL).write_bytes(content_of(model.state_dict()))
    other = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    other[1].weight = other[0].weight
    safetensors.torch.load_model(other, str(tmp_path / MODEL))
    assert torch.equal(other[1].weight, model[0].weight)


def test_large_weights_with_threads_small_tensors_and_progress(sealed):
    torch.manual_seed(0)
    sizes = [1, 300_000, 7, 1 << 20, 13, 5_000_000, 250_000, 2]
    tensors = {f"t{n}": torch.randn(size) for n, size in enumerate(sizes)}
    done: list[int] = []
    with sealed({MODEL: StateDictContent(tensors)}, "weights/x").open() as opened:
        weights = LazyWeights(opened)
        loaded = weights.load(done.append)
        assert opened.memory.held == weights.size == sum(done) == 4 * sum(sizes)
        for name in ("t1", "t4"):
            assert torch.equal(weights[name], tensors[name])
        with pytest.raises(KeyError):
            weights["nope"]
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_shards_are_one_model(sealed):
    parts = {
        "model-1-of-2.safetensors": StateDictContent({"a": torch.ones(2)}),
        "model-2-of-2.safetensors": StateDictContent({"b": torch.zeros(2)}),
        "model.safetensors.index.json": b"{}",
    }
    loaded = load_weights(sealed(parts, "weights/x").open())
    assert sorted(loaded) == ["a", "b"]


def test_a_tensor_in_two_shards_is_refused(sealed):
    parts = {f"{n}.safetensors": StateDictContent({"a": torch.ones(2)}) for n in "12"}
    with pytest.raises(MalformedError) as caught:
        load_weights(sealed(parts, "weights/x").open())
    assert caught.value.code == "tensor-twice"


def test_another_device_is_tracked(sealed):
    made = sealed({MODEL: StateDictContent({"a": torch.ones(2)})}, "weights/x")
    opened = made.open()
    tensor = load_weights(opened, device="meta")["a"]
    assert tensor.device.type == "meta"
    opened.memory.wipe("expired")


def test_wiped_weights_are_nan(sealed):
    opened = sealed({MODEL: StateDictContent({"a": torch.ones(2)})}, "weights/x").open()
    weights = LazyWeights(opened)
    kept = weights["a"]
    opened.memory.wipe("revoked")
    assert bool(torch.isnan(kept).all())
    with pytest.raises(SealError):
        weights["a"]


UNSUPPORTED = {
    "not-a-tensor": 3,
    "sparse": torch.eye(3).to_sparse(),
    "meta": torch.ones(2, device="meta"),
    "complex128": torch.ones(2, dtype=torch.complex128),
}


@pytest.mark.parametrize("fault", UNSUPPORTED)
def test_what_safetensors_cannot_hold_is_named(fault):
    with pytest.raises(UsageError) as caught:
        StateDictContent({"optimizer.x": UNSUPPORTED[fault]})
    assert caught.value.code == "tensor-unsupported"
    assert "optimizer.x" in caught.value.what


def test_an_artifact_without_weights(sealed):
    with pytest.raises(UsageError) as caught:
        load_weights(sealed({"a.txt": b"hello", "b": b""}, "weights/x").open())
    assert caught.value.code == "no-weights"


class Raw:
    """Content that nobody looks at, as another sealer could have made it."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def chunks(self, name: str):
        yield self.data


@pytest.mark.parametrize("name", ["model.bin", "model.safetensors"])
def test_a_pickle_that_was_sealed_elsewhere_is_refused(name, sealed):
    import pickle

    made = sealed({name: Raw(pickle.dumps({"w": [1, 2]}))}, "weights/x")
    with pytest.raises(PickleRefusedError):
        load_weights(made.open())


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def raw(fields: object, body: bytes = bytes(8), length: int | None = None) -> bytes:
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


MALFORMED = {
    "empty": b"",
    "seven-bytes": bytes(7),
    "length-beyond-file": raw({"a": ENTRY}, length=1000),
    "length-beyond-limit": raw({"a": ENTRY}, length=1 << 62),
    "not-json": raw(b"{nope"),
    "not-utf8": raw(b'{"\xff": 1}'),
    "no-object": raw(b"[1]"),
    "leading-space": raw(b' {"a":1}'),
    "two-objects": raw(b"{}{}"),
    "deep": raw(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "name-twice": raw(b'{"a":%b,"a":%b}' % ((json.dumps(ENTRY).encode(),) * 2)),
    "unknown-field": raw({"a": ENTRY | {"x": 1}}),
    "missing-field": raw({"a": {"dtype": "F32", "shape": [2]}}),
    "unknown-dtype": raw({"a": ENTRY | {"dtype": "F33"}}),
    "negative-shape": raw({"a": ENTRY | {"shape": [-2]}}),
    "enormous-shape": raw({"a": ENTRY | {"shape": [1 << 60]}}),
    "overflowing-shape": raw({"a": ENTRY | {"shape": [1 << 40, 1 << 40]}}),
    "too-many-dimensions": raw({"a": ENTRY | {"shape": [1] * 65}}),
    "float-offset": raw({"a": ENTRY | {"data_offsets": [0, 8.5]}}),
    "shape-too-large": raw({"a": ENTRY | {"shape": [3]}}),
    "offsets-reversed": raw({"a": ENTRY | {"data_offsets": [8, 0]}}),
    "hole-at-start": raw({"a": ENTRY | {"data_offsets": [8, 16]}}, bytes(16)),
    "hole-between": raw({"a": ENTRY, "b": ENTRY | {"data_offsets": [16, 24]}}, bytes(24)),
    "overlap": raw({"a": ENTRY, "b": ENTRY | {"data_offsets": [4, 12]}}, bytes(12)),
    "bytes-left-over": raw({"a": ENTRY}, bytes(9)),
    "bytes-missing": raw({"a": ENTRY}, bytes(7)),
    "metadata-not-text": raw({"__metadata__": {"a": 1}, "a": ENTRY}),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_file_is_refused(fault, sealed):
    made = sealed({MODEL: Raw(MALFORMED[fault])}, "weights/x")
    with pytest.raises(MalformedError) as caught:
        load_weights(made.open())
    assert caught.value.code == "safetensors-malformed"


@given(st.binary(max_size=200), st.integers(0, 300))
@settings(max_examples=examples(60), deadline=None)
def test_no_foreign_error_escapes_the_parser(text, size):
    with contextlib.suppress(MalformedError):
        header.parse_header(bytes(8), b"{" + text, size, "x")


def test_headers_with_spaces_at_the_end_are_read(sealed):
    made = sealed({MODEL: Raw(raw(json.dumps({"a": ENTRY}).encode() + b"   "))}, "weights/x")
    assert load_weights(made.open())["a"].tolist() == [0, 0]
