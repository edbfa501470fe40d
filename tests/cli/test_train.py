"""`nas train`: one network to a checked file, finished once, resumed after a stop."""

import contextlib
import json
import os
import signal
import threading

import numpy as np
import onnx
import onnxruntime
import pytest

from nas.accuracy.checkpoint import Checkpoint, save_checkpoint
from nas.accuracy.scoring import score_model
from nas.accuracy.supernet_training import SupernetSettings, SupernetTrainer
from nas.data import load_dataset
from nas.models import Supernet
from nas.search.folders import read_log
from nas.search.supernets import checkpoint_subject
from nas.space import load_space


@contextlib.contextmanager
def ctrl_c_when(condition):
    """Sends this process what Ctrl-C does, once, also where it was begun without minding that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    ended = threading.Event()

    def watch():
        while not ended.wait(0.005):
            if condition():
                os.kill(os.getpid(), signal.SIGINT)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def quick(tiny, tmp_path):
    """A training of a second."""
    return [
        "train", "--width", "0.5", "--space", tiny, "--resolution", "16", "--epochs", "1",
        "--batch-size", "128", "--threads", "1", "--out", tmp_path / "out",
    ]  # fmt: skip


def test_a_training_leaves_a_checked_model_and_is_done_once(nas, quick, tmp_path):
    out = tmp_path / "out"
    answer = nas(*quick, "--json")
    assert answer.code == 0, answer.err
    result = answer.json()
    assert result == json.loads((out / "model.json").read_text())
    assert sorted(path.name for path in out.iterdir()) == [
        ".lock", "data.json", "log.jsonl", "model.json", "model.onnx", "train.yaml",
    ]  # fmt: skip
    assert result["architecture"]["resolution"] == 16 and result["epochs"] == 1
    assert result["recipe"]["learning_rate"] == 0.1
    assert result["parity"]["test"]["disagreements"] == 0
    # Accuracy is that of the file, by what its metadata say.
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    how = json.loads(session.get_modelmeta().custom_metadata_map["nas.preprocessing"])
    test = load_dataset(None, 0, resolutions=(16,)).test
    x = (test.at(16).astype(np.float32) / 255 - np.float32(how["mean"])) / np.float32(how["std"])
    logits = [session.run(None, {"image": i.transpose(2, 0, 1)[None]})[0][0] for i in x]
    right = int((np.argmax(logits, axis=1) == test.labels).sum())
    assert right == result["accuracy"]["correct"]
    [data, epoch, finished] = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    assert data["about"][0].startswith("Data digits: 1,797 images of 10 classes (")
    assert all(line in answer.err for line in data["about"])
    assert epoch["epoch"] == 1 and epoch["loss"] > 0 and epoch["images_per_second"] > 0
    assert 0 < epoch["validation_accuracy"] < 1 and finished["event"] == "finished"

    before = {path: path.read_bytes() for path in out.iterdir()}
    again = nas(*quick)
    assert again.code == 0 and "This training is finished (begun 2" in again.err
    assert again.out.splitlines()[0].startswith("validation ")
    assert again.out.splitlines()[-1] == str(out / "model.onnx")
    assert before == {path: path.read_bytes() for path in out.iterdir()}


def test_another_training_does_not_go_into_the_folder(nas, quick, refused, tmp_path):
    assert nas(*quick).code == 0
    assert refused(*quick, "--epochs", "2") == (
        f"{tmp_path / 'out'} holds a training with other settings; got 'epochs 1 there, 2 now'; "
        "try: --out OTHER_FOLDER, or the settings in its train.yaml"
    )


def test_an_epoch_that_was_stopped_while_it_was_scored_is_logged(nas, quick, monkeypatch, tmp_path):
    scored = []

    def stopping(*options):
        scored.append(options[-1])
        if len(scored) == 2:
            raise KeyboardInterrupt
        return score_model(*options)

    monkeypatch.setattr("nas.search.training.session.score_model", stopping)
    options = [*quick, "--epochs", "3", "--metric", "balanced"]
    assert nas(*options).code == 130
    assert nas(*options, "--resume").code == 0
    log = read_log(tmp_path / "out" / "log.jsonl")
    assert [line.get("epoch") for line in log] == [None, 1, 2, 3, None]
    assert set(scored) == {"balanced"}


def test_going_on_on_another_kind_of_device_is_said(nas, quick, monkeypatch, tmp_path):
    def stop(*options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nas.search.training.session.score_model", stop)
        assert nas(*quick).code == 130
    begun = tmp_path / "out" / "train.yaml"
    begun.write_text(begun.read_text().replace("device: cpu", "device: cuda"))
    answer = nas(*quick, "--resume")
    assert answer.code == 0
    assert (
        "This training was begun on cuda and goes on on cpu: what is random differs" in answer.err
    )


def test_a_step_has_no_image_twice(nas, quick, tmp_path):
    answer = nas(*quick, "--epochs", "3", "--batch-size", "2048", "--json")
    images = answer.json()["training_images"]
    assert images < 2048 and answer.json()["steps"] == 3
    assert answer.json()["recipe"]["batch_size"] == images
    assert answer.json()["recipe"]["learning_rate"] == pytest.approx(0.1 * images / 128)
    assert (
        f"A step has all {images} training images: there are fewer than --batch-size 2048."
    ) in answer.err
    lines = [line for line in read_log(tmp_path / "out" / "log.jsonl") if "epoch" in line]
    assert [line["epoch"] for line in lines] == [1, 2, 3]


def test_broken_images_are_named_and_kept_in_the_folder(nas, quick, make_images, tmp_path):
    photos = make_images({"cat": 30, "dog": 30})
    broken = photos / "cat" / "007.png"
    broken.write_bytes(b"")
    answer = nas(*quick, "--data", photos)
    assert answer.code == 0, answer.err
    name = broken.relative_to(photos)
    assert f"Left out: 1 broken image ({name}: it is empty); data.json lists all." in answer.err
    kept = json.loads((tmp_path / "out" / "data.json").read_text())
    assert str(name) in json.dumps(kept["left_out"])


@pytest.mark.slow
def test_a_stopped_training_goes_on_and_ends_with_the_same_file(nas, quick, tmp_path):
    out = tmp_path / "out"
    options = [str(option) for option in quick]
    options[options.index("--epochs") + 1] = "12"
    log = out / "log.jsonl"
    with ctrl_c_when(lambda: log.exists() and '"epoch": 1' in log.read_text()):
        answer = nas(*options)
    assert (answer.code, answer.out) == (130, "")
    assert answer.err.endswith(
        f"\nStopped. What is trained is in {out}; the same command with --resume goes on from "
        "there.\nnas: stopped\n"
    )
    done = len(log.read_text().splitlines()) - 1  # the first is about the data
    with log.open("a") as file:
        # As if it had been killed between an epoch's line and its checkpoint, and within a line.
        file.write(json.dumps({"event": "epoch", "epoch": done + 1}) + '\n{"event')
    answer = nas(*options)
    assert answer.code == 2
    assert answer.err == (
        f"nas: {out} holds an unfinished training; try: the same command with --resume to "
        "continue it, or --out OTHER_FOLDER\n"
    )
    answer = nas(*options, "--resume")
    assert answer.code == 0, answer.err
    assert "Training continued at step" in answer.err
    assert [line.get("epoch") for line in read_log(log)] == [None, *range(1, 13), None]
    undisturbed = tmp_path / "undisturbed"
    assert nas(*options[:-1], undisturbed).code == 0
    assert (undisturbed / "model.onnx").read_bytes() == (out / "model.onnx").read_bytes()


def test_a_training_is_not_gone_on_with_from_other_inputs(nas, quick, refused, tmp_path):
    out = tmp_path / "out"
    assert nas(*quick).code == 0
    teacher = tmp_path / "teacher.onnx"
    (out / "model.onnx").rename(teacher)
    taught = [*quick[:-1], tmp_path / "taught", "--teacher", teacher]
    assert nas(*taught).code == 0
    (tmp_path / "taught" / "model.json").unlink()  # as if it had been stopped
    content = onnx.load(teacher)
    content.doc_string = "another"
    onnx.save(content, teacher)
    line = refused(*taught, "--resume")
    assert line.startswith(f"the teacher changed since {tmp_path / 'taught'} was begun; got '")
    assert line.endswith("; try: --out OTHER_FOLDER for a new training")


def test_an_architecture_from_a_file_learns_from_a_teacher(nas, quick, tiny, tmp_path):
    assert nas(*quick).code == 0
    sampled = nas("sample", "--space", tiny, "--json", "--seed", "3")
    (tmp_path / "arch.json").write_text(sampled.out)
    answer = nas(
        "train", "--arch", tmp_path / "arch.json", "--space", tiny, "--epochs", "1", "--threads",
        "1", "--teacher", tmp_path / "out" / "model.onnx", "--mixup", "0.2", "--cutmix", "1",
        "--augment", "0.3", "--optimiser", "adamw", "--metric", "balanced", "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    result = answer.json()
    assert result["accuracy"]["metric"] == result["recipe"]["metric"] == "balanced"
    assert result["accuracy"]["measured"].startswith("balanced accuracy (the mean over the classes")
    assert result["teacher"] == str(tmp_path / "out" / "model.onnx")
    [folder] = (tmp_path / "work" / "runs").iterdir()
    assert folder.name.startswith(f"train-{result['id']}-")
    [onnx_file] = folder.glob("*.onnx")
    metadata = {entry.key: entry.value for entry in onnx.load(onnx_file).metadata_props}
    assert json.loads(metadata["nas.architecture"]) == result["architecture"]


def test_training_starts_from_a_supernet_whose_largest_network_teaches(nas, tiny, tmp_path):
    space, dataset = load_space(tiny), load_dataset(None, 0, resolutions=(16, 20))
    net = Supernet(space, "small", 10, seed=0)
    SupernetTrainer(net, dataset, SupernetSettings(25)).train()
    supernet = tmp_path / "supernet.safetensors"
    subject = checkpoint_subject(space, "small", dataset)
    save_checkpoint(supernet, Checkpoint(dict(net.weights.items()), {}, 25, subject))
    options = [
        "train", "--width", "1", "--space", tiny, "--epochs", "1", "--batch-size", "256",
        "--threads", "1", "--supernet", supernet, "--learning-rate", "0.0001", "--json",
    ]  # fmt: skip
    started = nas(*options, "--distil", "--out", tmp_path / "started")
    assert started.code == 0, started.err
    scratch = nas(*options[:-5], "--learning-rate", "0.0001", "--json", "--out", tmp_path / "new")
    assert scratch.code == 0, scratch.err
    assert started.json()["teacher"] == "largest network of the supernet"
    reached, by_itself = (a.json()["accuracy"]["value"] for a in (started, scratch))
    assert reached > by_itself + 0.1, "a step so small learns nothing: this is the supernet's"
    other = nas(*options, "--seed", "1", "--out", tmp_path / "other")
    assert other.code == 2
    assert "was trained for another data set or another split of it" in other.err


def test_a_published_network_is_trained_at_its_resolution(nas, tmp_path, make_images):
    photos = make_images(
        {f"{part}/{name}": 4 for part in ("train", "val", "test") for name in "ab"}
    )
    answer = nas(
        "train", "--reference", "mobilenetv3/mobilenet_v3_small",
        "--data", photos, "--epochs", "1", "--batch-size", "4", "--threads", "1", "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    result = answer.json()
    assert result["reference"] == "mobilenetv3/mobilenet_v3_small" and result["resolution"] == 224
    assert result["accuracy"]["images"] == 8


def test_a_training_that_diverges_says_so(nas, quick):
    answer = nas(*quick, "--epochs", "2", "--batch-size", "256", "--learning-rate", "1e6")
    assert answer.code == 2
    assert answer.err.splitlines()[-1] == (
        "nas: training diverged in epoch 2: its loss is no finite number any more; got "
        "'--learning-rate 1e+06'; try: --learning-rate 0.2"
    )
    # Gone on with, it would diverge again.
    assert not quick[quick.index("--out") + 1].exists()


def test_what_was_trained_is_not_overwritten_by_an_export(nas, quick, tmp_path):
    assert nas(*quick).code == 0
    model, export = tmp_path / "out" / "model.onnx", ("export", "--space", quick[4])
    before = model.read_bytes()
    answer = nas(*export, "--arch", model.with_suffix(".json"), "--out", model)
    assert answer.code == 2
    assert answer.err == (
        f"nas: a model that was trained is not overwritten; got '{model}'; try: another --out\n"
    )
    assert model.read_bytes() == before
    answer = nas(*export, "--arch", model.with_suffix(".json"), "--out", tmp_path / "mine.onnx")
    assert answer.code == 0
    assert answer.err == (
        f"nas: the weights are random (no --supernet): good for timing only; trained: {model}\n"
    )


BAD = {
    ("--epochs", "0"): "argument --epochs: a whole number from 1 to 100000 is needed, got '0'",
    ("--mixup", "-1"): "argument --mixup: a number from 0 to 100 is needed, got '-1'",
    ("--augment", "2"): "argument --augment: a number from 0 to 1 is needed, got '2'",
    ("--ema", "1"): "argument --ema: a number from 0 to 0.999999 is needed, got '1'",
    ("--teacher-share", "0.3"): "--teacher-share is for a teacher; got '--teacher-share 0.3 alone'",
    ("--distil",): "--distil lets a supernet's largest network teach",
    ("--width", "0.3"): "search space tiny has no such width; got 0.3; allowed: 0.5, 1.0",
    ("--resolution", "17"): "plan small of tiny has no such resolution; got 17; allowed: 16, 20",
    ("--teacher", "none.onnx"): "--teacher names a file; got 'none.onnx'",
    ("--supernet", "none.safetensors"): "--supernet names a file; got 'none.safetensors'",
    ("--data", "none"): "none",
}


@pytest.mark.parametrize("options", BAD, ids=lambda options: options[0])
def test_bad_input_is_one_line_and_nothing_is_written(refused, tiny, tmp_path, options):
    line = refused("train", "--width", "0.5", "--space", tiny, *options, "--out", tmp_path / "out")
    assert BAD[options] in line


def test_one_network_is_named(refused, tiny):
    assert "one of the arguments --arch --reference --width is required" in refused("train")
    line = refused("train", "--reference", "mobilenetv2/none", "--space", tiny)
    assert line == "--reference names its space; got '--space'; try: leave --space out"
    line = refused("train", "--reference", "mobilenetv2/none")
    assert "search space mobilenetv2 has no such reference" in line
    assert "goes with --width" in refused(
        "train", "--reference", "mobilenetv2/mobilenet_v2", "--plan", "small"
    )


def test_help_has_an_example(nas):
    answer = nas("train", "--help")
    assert answer.code == 0 and "nas train --arch arch.json --epochs 30" in answer.out
