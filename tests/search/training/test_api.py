"""`nas.train_model`: the same training from Python."""

from __future__ import annotations

import json

import pytest
import torch

import nas
from nas.space import sample as sampling
from tests.search.conftest import TINY, Listener

LESS = {"epochs": 1, "batch_size": 256, "threads": 1, "space": str(TINY)}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_an_architecture_is_trained_and_read_again(tmp_path):
    space = nas.load_space(TINY)
    architecture = sampling.baseline(space, "small", 0.5, 16)
    listener = Listener()
    trained = nas.train_model(architecture, out=tmp_path / "out", watcher=listener, **LESS)
    assert listener.stages == ["training", "scoring"]
    assert trained.file.is_file() and trained.id == architecture.id
    assert trained.params == space.network(architecture, 10).cost.params
    assert 0 < trained.accuracy < 1
    again = nas.train_model(architecture.to_json(), out=tmp_path / "out", **LESS)
    assert again == trained


def test_a_width_names_a_network_and_mistakes_are_told(tmp_path):
    by_width = nas.train_model(width=0.5, resolution=16, **LESS)
    assert by_width.folder.parent.name == "runs"
    with pytest.raises(nas.InputError, match="unknown key 'epoch'"):
        nas.train_model(width=0.5, epoch=3)
    with pytest.raises(nas.InputError, match="a training is of one network; got 'none'"):
        nas.train_model(epochs=3)


def test_what_is_an_architecture(tmp_path):
    space = nas.load_space(TINY)
    architecture = sampling.baseline(space, "small", 0.5, 16)
    trained = nas.train_model(architecture, out=tmp_path / "out", **LESS)
    entry = json.loads((trained.folder / "model.json").read_text())
    assert nas.train_model(entry, out=tmp_path / "out", **LESS) == trained
    for wrong in ("tiny/reference", space.network(architecture, 10)):
        with pytest.raises(nas.InputError) as caught:
            nas.train_model(wrong, **LESS)
        assert str(caught.value).startswith(
            f"an architecture is a nas.Architecture, or the object of one; got "
            f"'{type(wrong).__name__}'"
        )


def test_shares_that_leave_nothing_to_learn_are_refused(tmp_path):
    with pytest.raises(nas.InputError, match="label_smoothing: input should be less than 1"):
        nas.train_model(width=0.5, label_smoothing=1.0)
    with pytest.raises(nas.InputError, match="a teacher has a share of the loss"):
        nas.train_model(width=0.5, teacher="t.onnx", teacher_share=0.0)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    from nas.accuracy.checkpoint import TRAINING, save_parts

    out = tmp_path / "out"
    nas.train_model(width=0.5, resolution=16, out=out, **LESS)
    (out / "model.json").unlink()
    save_parts(out / "checkpoint.safetensors", TRAINING, {}, 3, {"settings": "others"})
    with pytest.raises(nas.InputError) as caught:
        nas.train_model(width=0.5, resolution=16, out=out, resume=True, **LESS)
    assert str(caught.value) == (
        f"{out / 'checkpoint.safetensors'} is of another training; try: delete it to begin anew"
    )
