"""A run goes on only with the space, the table and the data that it was begun with."""

from types import SimpleNamespace

import pytest

from nas.errors import RunFolderError
from nas.search.inputs import input_digests
from nas.search.resolved import check_same
from nas.search.run_folder import RunFolder
from nas.space import load_space


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
