"""A run goes on only with the space, the table and the data that it was begun with."""

from types import SimpleNamespace

import pytest

from nas.errors import RunFolderError
from nas.search.inputs import input_digests, space_digest
from nas.search.resolved import check_same
from nas.search.run_folder import RunFolder
from nas.space import load_space


@pytest.mark.parametrize(
    ("name", "digest"), [("mobilenetv3", "eacde3ac5389074f"), ("nas-bench-macro", None)]
)
def test_a_space_is_what_it_was_before_there_were_exits(name, digest):
    """Runs and supernets of before are still of this space."""
    space = load_space(name)
    assert "exit" not in str(space.content)
    assert digest in (None, space_digest(space))
    assert "exit_head" in load_space("mobilenetv3-exits").content


def test_what_changed_is_refused(tmp_path):
    (tmp_path / "device.yaml").write_text("name: board")
    tables = {"board": SimpleNamespace(folder=tmp_path)}
    dataset = SimpleNamespace(fingerprint="a" * 32)
    inputs = SimpleNamespace(space=load_space("mobilenetv2"), tables=tables, dataset=dataset)
    content = {"inputs": input_digests(inputs.space, tables), "data": {"fingerprint": "a" * 32}}
    check_same(RunFolder(tmp_path / "run"), content, inputs)
    dataset.fingerprint = "b" * 32
    with pytest.raises(RunFolderError, match="the data changed since .*; got 'bbbbbbbbbbbb'"):
        check_same(RunFolder(tmp_path / "run"), content, inputs)
    (tmp_path / "device.yaml").write_text("name: boards")
    with pytest.raises(RunFolderError, match="the latency table changed since .*run was begun"):
        check_same(RunFolder(tmp_path / "run"), content, inputs)
    inputs.space = load_space("mobilenetv1")
    with pytest.raises(RunFolderError, match="the search space changed .*; try: restore the"):
        check_same(RunFolder(tmp_path / "run"), content, inputs)
