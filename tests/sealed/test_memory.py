"""Wiping: everything handed out, and nobody trains on what is left."""

from __future__ import annotations

import gc

import pytest
import torch

from jupyter_aisec.errors import SealError
from jupyter_aisec.sealed.memory import Memory, wipe


@pytest.mark.parametrize("size", [1, 5000, (1 << 20) - 1, 1 << 20, (5 << 20) + 3])
def test_a_wipe_reaches_every_view(size):
    memory = Memory()
    block = memory.allocate(size)
    view = memoryview(block)
    view[:] = b"s" * size
    tensor = torch.frombuffer(block, dtype=torch.uint8)[size // 2 :]
    del block
    memory.wipe("expired")
    assert set(bytes(view)) == {0xFF}
    assert bool((tensor == 255).all())


@pytest.mark.parametrize("size", [100, 3 << 20])
def test_what_nobody_uses_is_freed(size):
    memory = Memory()
    tensor = torch.frombuffer(memory.allocate(size), dtype=torch.uint8)
    assert memory.held == size
    part = tensor[10:]
    del tensor
    gc.collect()
    assert memory.held == size
    del part
    gc.collect()
    assert memory.held == 0


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.complex64,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
    ],
    ids=str,
)
def test_wiped_floats_are_nan_so_training_on_them_cannot_go_unseen(dtype):
    memory = Memory()
    tensor = torch.frombuffer(memory.allocate(64), dtype=dtype)
    elsewhere = torch.ones(4, dtype=dtype)
    memory.track(elsewhere)
    memory.wipe("revoked")
    for wiped in (tensor, elsewhere):
        assert bool(torch.isnan(wiped.to(torch.complex64)).all())


@pytest.mark.parametrize(
    ("dtype", "left"), [(torch.int64, -1), (torch.uint8, 255), (torch.bool, True)], ids=str
)
def test_tracked_integers_are_overwritten(dtype, left):
    memory = Memory()
    tensor = torch.zeros(4, dtype=dtype, requires_grad=False)
    memory.track(tensor)
    memory.wipe("revoked")
    assert tensor.tolist() == [left] * 4


def test_a_models_parameters_are_wiped_in_place():
    memory = Memory()
    layer = torch.nn.Linear(2, 2)
    memory.track(layer.weight)
    gone = torch.ones(3)
    memory.track(gone)
    del gone
    memory.wipe("revoked")
    loss = layer(torch.ones(2)).sum()
    assert bool(torch.isnan(loss))


def test_dead_tensors_are_forgotten():
    memory = Memory()
    for _ in range(10):
        memory.track(torch.ones(1))
    assert len(memory._tensors) == 1


def test_after_a_wipe_nothing_can_be_opened():
    memory = Memory()
    said = []
    memory.on_wipe(lambda: said.append(memory.ended))
    assert memory.ended is None
    memory.check()
    memory.wipe("expired")
    memory.wipe("revoked")
    assert memory.ended == "expired"
    assert said == ["expired"]
    for use in (
        memory.check,
        lambda: memory.allocate(1),
        lambda: memory.on_wipe(print),
        lambda: memory.track(torch.ones(1)),
    ):
        with pytest.raises(SealError) as caught:
            use()
        assert caught.value.code == "memory-wiped"
        assert "expired" in str(caught.value)


def test_any_writable_buffer_can_be_wiped():
    data = bytearray(3_000_000)
    wipe(memoryview(data)[1:-1])
    assert data[0] == data[-1] == 0
    assert set(data[1:-1]) == {0xFF}


@pytest.mark.parametrize("lacks", ["MAP_ANONYMOUS", "MADV_DONTDUMP"], ids=["windows", "macos"])
def test_systems_with_less(lacks, monkeypatch):
    monkeypatch.delattr("mmap." + lacks)
    block = Memory().allocate(1 << 20)
    assert len(block) == 1 << 20
