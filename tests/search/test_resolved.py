"""What is fixed when a run begins."""

from dataclasses import replace
from types import SimpleNamespace

from nas.search.executors.execution import Execution
from nas.search.resolved import _storage
from nas.search.work import Work

WORK = Work(300, 16, 12, 50, 32, 512, 359)


def test_only_searches_of_the_same_work_share_a_study(space, make_settings):
    def name(work=WORK, fingerprint="a", **changes):
        dataset = SimpleNamespace(fingerprint=fingerprint)
        inputs = SimpleNamespace(
            settings=make_settings(**changes), dataset=dataset, space=space, tables={}
        )
        return _storage(inputs, work, Execution(storage="postgresql://me@here/db"))["study"]

    others = [
        name(replace(WORK, short_steps=13)),  # as a time limit fixes it, by the machine's speed
        name(replace(WORK, validation_images=300)),
        name(fingerprint="b"),
        name(seed=1),
    ]
    assert name() == name() and len({name(), *others}) == 5
