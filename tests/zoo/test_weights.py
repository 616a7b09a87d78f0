"""Weights on disk: round trips, and every file that is not what it should be."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dlaflow.errors import InputError
from dlaflow.zoo.models import build_model
from dlaflow.zoo.weights import (
    Epoch,
    Sidecar,
    load_weights,
    read_sidecar,
    read_tensors,
    save_tensors,
    sidecar_path,
    write_sidecar,
)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_tensors(tmp_path / "w.safetensors", network().state_dict(), {"note": "hello"})
    return tmp_path / "w.safetensors"


def test_tensors_and_metadata_come_back(tmp_path: Path) -> None:
    state = network().to(memory_format=torch.channels_last).state_dict()
    save_tensors(tmp_path / "w.safetensors", state, {"note": "hello"})
    back, metadata = read_tensors(tmp_path / "w.safetensors")
    assert metadata == {"note": "hello"}
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_loading_makes_the_networks_equal(saved: Path) -> None:
    first, second = network().eval(), network().eval()
    load_weights(first, saved)
    load_weights(second, saved)
    images = torch.randn(1, 3, 8, 8)
    assert torch.equal(first(images), second(images))


@pytest.mark.parametrize("name", ["model_bn", "model_gn"])
def test_published_weights_fit_by_name(name: str, published_weights: Path) -> None:
    model = build_model(name)
    load_weights(model, published_weights / f"{name}.safetensors")
    tensors, _ = read_tensors(published_weights / f"{name}.safetensors")
    assert tensors.keys() == model.state_dict().keys()
    assert torch.equal(model.linear.bias, tensors["linear.bias"])


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_pickle_is_refused_whatever_its_name(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w.{suffix}"
    torch.save(network().state_dict(), path)
    with pytest.raises(InputError, match="is a pickle, which can run any code"):
        load_weights(network(), path)


def test_an_absent_and_a_truncated_file(saved: Path) -> None:
    with pytest.raises(InputError, match="there are no weights"):
        load_weights(network(), saved.with_name("absent.safetensors"))
    saved.write_bytes(saved.read_bytes()[:-5])
    with pytest.raises(InputError, match="truncated or not a safetensors file"):
        load_weights(network(), saved)


def test_missing_unknown_and_misshapen_tensors_are_one_line(saved: Path) -> None:
    wider = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))
    with pytest.raises(InputError, match=re.escape("at 0.bias: expected shape [5], received [4]")):
        load_weights(wider, saved)
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(2, 2))
    with pytest.raises(InputError) as caught:
        load_weights(other, saved)
    assert "missing 2.weight, 2.bias; unknown 1.bias, 1.num_batches_tracked, 1.running_mean and 2 more" in str(
        caught.value
    )


def test_the_counter_of_batches_may_be_absent(saved: Path) -> None:
    tensors, _ = read_tensors(saved)
    del tensors["1.num_batches_tracked"]
    save_tensors(saved, tensors)
    load_weights(network(), saved)


def test_sidecar_round_trip_and_its_bond_to_the_weights(saved: Path) -> None:
    assert read_sidecar(saved) is None
    card = Sidecar(
        model="m",
        sha256="",
        data="d",
        data_fingerprint="f",
        images=9,
        mean=(0.1, 0.2, 0.3),
        std=(1.0, 1.0, 1.0),
        classes=("a",),
        seed=1,
        epochs=2,
        best_epoch=1,
        batch_size=3,
        lr=0.1,
        device="cpu",
        precision="auto",
        arithmetic="fp32",
        val_top1=0.5,
        test_top1=0.4,
        seconds=1.0,
        history=(Epoch(1.0, 0.5), Epoch(0.9, 0.4)),
        versions={"torch": "2"},
    )
    from dlaflow.files import sha256_of

    card = replace(card, sha256=sha256_of(saved))
    assert write_sidecar(saved, card) == sidecar_path(saved) == saved.with_name("w.safetensors.json")
    assert read_sidecar(saved) == card
    save_tensors(saved, network().state_dict())
    assert read_sidecar(saved) is None, "other weights lie there now"
    sidecar_path(saved).write_text("{")
    with pytest.raises(InputError, match="not a sidecar"):
        read_sidecar(saved)
