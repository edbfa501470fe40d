"""A supernet is trained once, continued where it was stopped, and never used for another space."""

import dataclasses
import threading
import time

import pytest
import torch
from filelock import FileLock

from nas.accuracy.checkpoint import load_checkpoint, save_checkpoint
from nas.accuracy.supernet_training import SupernetSettings, SupernetTrainer
from nas.data import load_dataset
from nas.errors import CheckpointError
from nas.files import cache_folder
from nas.models import Supernet
from nas.search import supernets
from nas.search.supernets import (
    SupernetJob,
    load_given,
    longest_finished,
    read_given,
    steps_left,
    train_or_load,
)
from nas.search.watch import Silent
from nas.space import load_space

STEPS = 6


@pytest.fixture
def make_job(space, dataset):
    def make(steps=STEPS, seed=0, threads=1, metric="accuracy", **changes):
        values = {"space": space, "dataset": dataset, **changes}
        supernet = Supernet(values["space"], "small", 10, seed)
        settings = SupernetSettings(steps, batch_size=16, metric=metric, seed=seed)
        return SupernetJob(supernet, values["dataset"], settings, threads)

    return make


def weights(job):
    return {name: tensor.clone() for name, tensor in job.supernet.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_second_run_takes_it_from_the_cache(make_job, listener, monkeypatch):
    first = make_job()
    assert steps_left(first, None) == STEPS
    path = train_or_load(first, Silent())
    assert path.parent == cache_folder() / "supernets"
    assert steps_left(first, None) == 0
    monkeypatch.setattr(SupernetTrainer, "train_step", None)  # must not be reached
    second = make_job()
    train_or_load(second, listener)
    assert_same(weights(first), weights(second))
    assert listener.said == [f"Supernet from the cache: {path}"]
    assert listener.stages == []


def test_who_waits_for_another_search_is_told(make_job, listener):
    job = make_job(steps=2)
    supernets.check_cache()
    other = FileLock(f"{job.path}.lock")
    other.acquire()
    waiting = threading.Thread(target=train_or_load, args=(job, listener))
    waiting.start()
    while not listener.said:
        time.sleep(0.01)
    other.release()
    waiting.join()
    assert listener.said == ["Another search trains this supernet: waiting until it is done."]
    assert steps_left(job, None) == 0


def test_a_longer_trained_one_is_found_where_nothing_else_differs(make_job):
    assert longest_finished(make_job()) is None
    for job in (make_job(steps=3), make_job(steps=4), make_job(steps=9, seed=1)):
        train_or_load(job, Silent())
    (cache_folder() / "supernets" / "broken.safetensors").write_bytes(b"no supernet")
    assert longest_finished(make_job()) == (4, make_job(steps=4).path)
    assert longest_finished(make_job(threads=2)) is None


def test_an_unfinished_one_is_not_offered(make_job, monkeypatch):
    monkeypatch.setattr(supernets, "SAVE_EVERY_S", -1.0)
    with pytest.raises(Stop):
        train_or_load(make_job(), StopAfter(4))
    assert longest_finished(make_job()) is None


def test_everything_that_makes_it_another_one_has_a_file_of_its_own(make_job, tmp_path):
    other_data = load_dataset(None, 1, resolutions=(16, 20))
    other_space = load_space("mobilenetv1")
    jobs = [
        make_job(), make_job(steps=7), make_job(seed=1), make_job(threads=2),
        make_job(dataset=other_data), make_job(space=other_space), make_job(metric="balanced"),
    ]  # fmt: skip
    assert len({job.path for job in jobs}) == len(jobs)
    assert make_job().path == jobs[0].path


class Stop(Exception):  # noqa: N818
    """As a kill would, without the process."""


class StopAfter(Silent):
    def __init__(self, step):
        self.step = step

    def progress(self, stage, done, total, note=""):
        if done == self.step:
            raise Stop


@pytest.mark.parametrize("stopped_at", [1, 3, STEPS - 1])
def test_training_continues_bit_for_bit(make_job, monkeypatch, listener, stopped_at):
    undisturbed = make_job(seed=3)
    path = train_or_load(undisturbed, Silent())
    expected, saved = weights(undisturbed), load_checkpoint(path)
    path.unlink()
    monkeypatch.setattr(supernets, "SAVE_EVERY_S", -1.0)
    with pytest.raises(Stop):
        train_or_load(make_job(seed=3), StopAfter(stopped_at + 1))
    # The step that was under way when it was stopped is not in the file.
    assert load_checkpoint(path).step == stopped_at
    again = make_job(seed=3)
    assert steps_left(again, None) == STEPS - stopped_at
    train_or_load(again, listener)
    assert_same(weights(again), expected)
    assert listener.said == [f"Supernet continued at step {stopped_at} of {STEPS}"]
    momentum = load_checkpoint(path).momentum
    assert all(torch.equal(momentum[name], saved.momentum[name]) for name in saved.momentum)


def test_interrupted_it_keeps_what_was_done(make_job):
    class Interrupt(Silent):
        def progress(self, stage, done, total, note=""):
            if done == 2:
                raise KeyboardInterrupt

    undisturbed = make_job(seed=3)
    path = train_or_load(undisturbed, Silent())
    expected = weights(undisturbed)
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        train_or_load(make_job(seed=3), Interrupt())
    assert load_checkpoint(path).step == 2
    again = make_job(seed=3)
    train_or_load(again, Silent())
    assert_same(weights(again), expected)


def test_progress_is_told_in_steps_on_whole_images(make_job):
    told = []

    class Counting(Silent):
        def progress(self, stage, done, total, note=""):
            told.append((stage, done, total, note))

    job = make_job(steps=10)
    settings = dataclasses.replace(job.settings, progressive=True)
    train_or_load(dataclasses.replace(job, settings=settings), Counting())
    assert len(told) == 11 and {(stage, total) for stage, _, total, _ in told} == {("supernet", 6)}
    assert [done for _, done, _, _ in told] == [0, 1, 1, 2, 2, 3, 3, 4, 5, 5, 6]
    notes = [note for *_, note in told]
    assert notes[5] == "step 5 of 10, images of 62% of their side"
    assert notes[8] == "step 8 of 10, images of 81% of their side" and notes[10] == ""


def test_a_damaged_file_in_the_cache_is_trained_anew(make_job, listener):
    job = make_job()
    path = train_or_load(job, Silent())
    expected = weights(job)
    path.write_bytes(path.read_bytes()[:100])
    again = make_job()
    assert steps_left(again, None) == STEPS
    train_or_load(again, listener)
    assert_same(weights(again), expected)
    assert listener.said[0].startswith("The cached supernet is not usable and is trained anew: ")
    assert load_checkpoint(path).step == STEPS


def test_a_given_file_is_used(make_job, tmp_path):
    trained = make_job()
    path = train_or_load(trained, Silent())
    fresh = make_job(steps=50, seed=9)
    said = []
    assert load_given(fresh, path, said.append) == STEPS and said == []
    assert_same(weights(fresh), weights(trained))
    assert steps_left(fresh, str(path)) == 0
    stopped = tmp_path / "stopped.safetensors"
    saved = load_checkpoint(path)
    save_checkpoint(stopped, dataclasses.replace(saved, step=2))
    assert load_given(fresh, stopped, said.append) == 2
    assert said.pop() == (
        f"{stopped} was stopped at step 2 of {STEPS}: the search that trains it goes on with "
        "--resume, and a finished one ranks better."
    )
    load_given(make_job(metric="balanced"), path, said.append)
    assert said == [
        f"{path} was trained with --metric accuracy, and is scored with --metric balanced: one "
        "that is trained for it ranks better."
    ]


def refused(job, path):
    before = weights(job)
    with pytest.raises(CheckpointError) as caught:
        load_given(job, path)
    assert caught.value.exit_code == 2
    assert_same(weights(job), before)
    return str(caught.value)


def test_a_file_of_another_space_is_refused(make_job):
    path = train_or_load(make_job(), Silent())
    assert refused(make_job(space=load_space("mobilenetv1")), path) == (
        f"the supernet {path} was trained for another search space; got 'tiny'; allowed: "
        "mobilenetv1; try: leave --supernet out, or give one that was trained for this"
    )


def test_a_file_of_a_space_that_was_changed_since_is_refused(make_job, space):
    path = train_or_load(make_job(), Silent())
    stem = space.file.stem.model_copy(update={"channels": 16})
    changed = dataclasses.replace(space, file=space.file.model_copy(update={"stem": stem}))
    message = refused(make_job(space=changed), path)
    assert message.startswith(
        f"the supernet {path} was trained for another definition of the space; got '"
    )


def test_a_new_description_of_a_space_changes_nothing(make_job, space):
    path = train_or_load(make_job(), Silent())
    file = space.file.model_copy(update={"description": "the same in other words"})
    load_given(make_job(space=dataclasses.replace(space, file=file)), path)


def test_a_file_for_other_data_is_refused(make_job):
    path = train_or_load(make_job(), Silent())
    other = load_dataset(None, 1, resolutions=(16, 20))
    message = refused(make_job(dataset=other), path)
    assert message.startswith(
        f"the supernet {path} was trained for another data set or another split of it; got 'digits "
    )


@pytest.mark.parametrize("content", [b"", b"no supernet", b"\x10" + b"\0" * 40])
def test_a_file_that_is_no_supernet_is_refused(make_job, tmp_path, content):
    path = tmp_path / "file.safetensors"
    path.write_bytes(content)
    message = refused(make_job(), path)
    assert message.startswith(f"{path} cannot be read as a supernet: ")
    assert message.endswith("; try: leave --supernet out, or give another file")


def test_a_checkpoint_of_something_else_is_refused(make_job, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    assert refused(make_job(), path) == (
        f"{path} is not a supernet of this version; got 'no format'; allowed: nas-supernet-1"
    )


def test_a_file_that_is_not_there_is_refused(make_job, tmp_path):
    with pytest.raises(CheckpointError) as caught:
        read_given(tmp_path / "missing", make_job().subject)
    assert str(caught.value) == (
        f"--supernet names a file; got '{tmp_path / 'missing'}'; allowed: a supernet file; "
        "try: leave --supernet out, or look into the cache folder's supernets/"
    )
