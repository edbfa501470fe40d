"""Tables are written whole, read back as they were, and refused where anything is wrong."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import OptionError, TableError
from nas.latency.table import (
    COLUMNS,
    LatencyTable,
    Row,
    load_table,
    read_table,
    table_folders,
    write_table,
)
from nas.space.blocks import BlockKey, make_block
from nas.space.families import HALVED, OP_PARAMS, OPTIONAL_PARAMS

SHIPPED = {"jetson-nano-tensorrt", "raspberry-pi-4-xnnpack-4"}

VALUES = {
    "activation": st.sampled_from(["none", "relu", "relu6", "hardswish", "silu"]),
    "se_activation": st.sampled_from(["relu", "silu"]),
    "kernel": st.sampled_from([1, 3, 5, 7]),
    "stride": st.sampled_from([1, 2]),
    "hidden": st.integers(0, 2000),
    "channels": st.integers(0, 2000),
    "se": st.integers(0, 200),
    "gate": st.sampled_from(["hardsigmoid", "sigmoid"]),
    "residual": st.booleans(),
    "norm": st.booleans(),
    "pool": st.sampled_from([1, 2]),
    "pooling": st.just("mean"),
}
sizes = st.integers(1, 300)
# Six significant digits are written, which is far below the noise of any measurement.
milliseconds = st.floats(1e-6, 1e5).map(lambda value: float(f"{value:.6g}"))


@st.composite
def keys(draw):
    op = draw(st.sampled_from(sorted(OP_PARAMS)))
    names = (*OP_PARAMS[op], *OPTIONAL_PARAMS.get(op, ()))
    params = {name: draw(VALUES[name]) for name in names}
    if "hidden" in params and op != "classifier":
        params["hidden"] += 1  # none at all is for classifiers
    size, channels = (draw(sizes), draw(sizes)), (draw(sizes), draw(sizes))
    if op in HALVED:
        channels = channels[0], 2 * channels[1]
    block = make_block(op, size, *channels, params)
    return BlockKey(block, draw(st.sampled_from(["fp32", "fp16", "int8"])), draw(st.integers(1, 8)))


rows = st.dictionaries(
    keys(),
    st.builds(
        Row,
        milliseconds,
        milliseconds,
        st.none() | milliseconds,
        st.integers(1, 10**6),
        st.just("measured"),
        st.none() | milliseconds,
    )
    | st.builds(
        Row,
        milliseconds,
        milliseconds,
        st.none(),
        st.just(0),
        st.sampled_from(["interpolated", "transferred"]),
        st.none() | milliseconds,
    ),
    min_size=1,
)


@given(rows)
@settings(max_examples=50)
def test_tables_are_read_back(tmp_path_factory, make_table, rows):
    written = make_table(tmp_path_factory.mktemp("tables") / "nuc-onnxruntime", rows)
    write_table(written)
    assert read_table(written.folder) == written


def test_a_folder_holds_two_readable_files(written):
    assert sorted(path.name for path in written.iterdir()) == ["blocks.csv", "device.yaml"]
    lines = (written / "blocks.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert lines[-1] == (
        '2,stem,fp32,1,16,16,3,16,"{""activation"":""relu"",""kernel"":3,""stride"":1}",0.1,0.001,0,100,measured,,19456,1792'
    )
    assert "- [1.0, 1.1]" in (written / "device.yaml").read_text()


def test_the_order_of_rows_does_not_depend_on_when_they_were_measured(tmp_path, make_table):
    one, two = make_table(tmp_path / "one"), make_table(tmp_path / "two")
    write_table(one)
    write_table(LatencyTable(two.device, dict(reversed(two.rows.items())), two.folder))
    assert (tmp_path / "one" / "blocks.csv").read_text() == (
        tmp_path / "two" / "blocks.csv"
    ).read_text()


def test_what_a_table_says_of_itself(written):
    table = read_table(written)
    assert (table.name, table.provenance, len(table.rows)) == ("nuc-onnxruntime", "measured", 3)
    assert table.calibration("tiny", "small", "fp32", 16).sum_factor == 0.9
    assert table.calibration("tiny", "small", "fp32", 20) is None
    assert table.calibration("tiny", "large", "fp32", 16) is None
    assert table.calibration("tiny", "small", "int8", 16) is None


# Broken rows


def again(folder):
    """Profiling would read the damaged table first, so it has to go."""
    return (
        f"try: rm -r {folder} && nas profile --device nuc-onnxruntime --space tiny.yaml "
        "--plan small"
    )


def damaged(folder):
    """What `broken` says before the advice, which is the same for all damage."""
    message, advice = broken(folder), f"; {again(folder)}"
    assert message.endswith(advice)
    return message.removesuffix(advice)


def broken(folder):
    with pytest.raises(TableError) as caught:
        read_table(folder)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    message = str(caught.value)
    assert message.startswith(str(folder))
    return message.removeprefix(str(folder)).removeprefix("/")


def edit(folder, old, new, name="blocks.csv"):
    path = folder / name
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


def test_a_missing_row(written):
    path = written / "blocks.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert broken(written) == (
        "blocks.csv is cut off or misses rows; got '2 rows'; "
        f"allowed: the 3 rows that device.yaml counts; {again(written)}"
    )


@pytest.mark.parametrize("kept", [0, 1, 50, 150, 300, -1])
def test_a_cut_off_file(written, kept):
    path = written / "blocks.csv"
    path.write_text(path.read_text()[:kept])
    assert broken(written) == f"blocks.csv is cut off: its last line has no end; {again(written)}"


def test_no_rows_at_all(written):
    (written / "blocks.csv").write_text(",".join(COLUMNS) + "\n")
    assert broken(written).startswith("blocks.csv is cut off or misses rows; got '0 rows'; ")


def test_a_key_that_is_listed_twice(written):
    path = written / "blocks.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[1]]))
    assert damaged(written) == (
        "blocks.csv line 5: a block key is listed twice; got 'classifier 8x8x32->10 "
        '{"activation":"none","hidden":0,"pooling":"mean"} fp32 batch 1\''
    )


@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "-inf", "-0.1", "0", "0.0", "-0"])
def test_a_latency_is_finite_and_above_zero(written, value):
    edit(written, ",0.2,0.001,", f",{value},0.001,")
    assert damaged(written) == (
        f"blocks.csv line 3: latency_ms must be a finite number above zero; got {value!r}"
    )


@pytest.mark.parametrize("value", ["nan", "inf", "-0.1"])
def test_a_95th_percentile_is_finite_and_not_negative(written, value):
    edit(written, ",0.2,0.001,0,", f",0.2,0.001,{value},")
    assert damaged(written) == (
        f"blocks.csv line 3: p95_ms must be a finite number, not negative; got {value!r}"
    )


@pytest.mark.parametrize("value", ["nan", "inf", "-0.1"])
def test_a_spread_is_finite_and_not_negative(written, value):
    edit(written, ",0.2,0.001,", f",0.2,{value},")
    assert damaged(written) == (
        f"blocks.csv line 3: spread_ms must be a finite number, not negative; got {value!r}"
    )


@pytest.mark.parametrize("value", ["nan", "inf", "-0.1", "0", "0.0"])
def test_an_energy_is_finite_and_above_zero(written, value):
    edit(written, ",0.2,0.001,0,100,measured,,", f",0.2,0.001,0,100,measured,{value},")
    assert damaged(written) == (
        "blocks.csv line 3: energy_mj is a finite number above zero, or empty where it is not "
        f"known; got {value!r}"
    )


@pytest.mark.parametrize("value", ["", "nan", "0", "20479", "-20480", "20480.0", " 20480", "2e4"])
def test_memory_and_weights_follow_from_the_block(written, value):
    edit(written, ",100,measured,,20480,2816", f",100,measured,,{value},2816")
    assert damaged(written) == (
        f"blocks.csv line 3: peak_memory_bytes follows from the block; got {value!r}; "
        "allowed: 20480"
    )
    edit(written, f",100,measured,,{value},2816", ",100,measured,,20480,2815")
    assert damaged(written) == (
        "blocks.csv line 3: weight_bytes follows from the block; got '2815'; allowed: 2816"
    )


def test_memory_and_weights_of_a_row_follow_its_precision_and_batch(tmp_path, make_table):
    key = next(iter(make_table(tmp_path).rows))
    lines = []
    for precision, batch in (("fp32", 1), ("fp16", 1), ("int8", 3)):
        row = {BlockKey(key.block, precision, batch): Row(1.0, 0.1, None, 5)}
        write_table(make_table(tmp_path / precision, row))
        lines.append((tmp_path / precision / "blocks.csv").read_text().splitlines()[1].split(","))
    peaks, weights = ([int(fields[at]) for fields in lines] for at in (-2, -1))
    assert (peaks[1] * 2, peaks[2] * 4) == (peaks[0], peaks[0] * 3)
    assert (weights[1] * 2, weights[2] * 4) == (weights[0], weights[0])


def test_another_version_of_the_key(written):
    edit(written, "2,depthwise_separable,", "1,depthwise_separable,")
    assert damaged(written) == (
        "blocks.csv line 3: another version of latency tables; got '1'; allowed: 2"
    )


def test_an_unknown_op(written):
    edit(written, "2,depthwise_separable,", "2,pool,")
    assert damaged(written) == (
        "blocks.csv line 3 is not a row of a latency table: a block names a known op; got 'pool'; "
        "allowed: classifier, conv, depthwise_separable, fire, fused_inverted_residual, head, "
        "inverted_residual, residual, shuffle_unit, stem"
    )


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (",0.2,", ",fast,", "could not convert string to float: 'fast'"),
        (",0.2,", ",,", "could not convert string to float: ''"),
        ("fp32,1,16,16,16,32", "fp32,1,16,x,16,32", "invalid literal for int()"),
        ("fp32,1,16,16,16,32", "fp32,1,16,1.5,16,32", "invalid literal for int()"),
        ('""stride"":2', '""stride""', "Expecting ':' delimiter"),
        ('""stride"":2', '""strides"":2', "depthwise_separable takes exactly its own parameters"),
        ('""stride"":2', '""stride"":[2]', "unhashable type: 'list'"),
        ('""stride"":2', '""stride"":0', "integer division or modulo by zero"),
        (
            '""kernel"":3,""stride"":2',
            '""kernel"":""3"",""stride"":2',
            "unsupported operand type(s)",
        ),
        (
            '""kernel"":3,""stride"":2',
            f'""kernel"":{"9" * 3000},""stride"":2',
            "Exceeds the limit (4300 digits)",
        ),
        (
            '{""activation"":""relu"",""kernel"":3,""stride"":2}',
            "3",
            "'int' object is not iterable",
        ),
    ],
)
def test_a_row_that_is_none(written, old, new, reason):
    edit(written, old, new)
    assert damaged(written).startswith(
        f"blocks.csv line 3 is not a row of a latency table: {reason}"
    )


def test_a_row_with_another_number_of_columns(written):
    edit(written, ",0.2,0.001,", ",0.2,")
    assert damaged(written) == "blocks.csv line 3: a row has 17 columns; got 16"


def test_other_columns(written):
    edit(written, "latency_ms", "latency_s")
    assert broken(written).startswith(
        "blocks.csv line 1: the columns are fixed; got 'schema,op,precision,batch,height,width,"
        "in_channels,out_channels,params,latency_s,spread_ms,p95_ms,samples,source,energy_mj,"
        "peak_memory_bytes,weight_bytes'; allowed: schema,op,"
    )


def test_a_stray_quote_swallows_the_rest(written):
    path = written / "blocks.csv"
    path.write_text(path.read_text() + '"' + "x" * 200_000 + "\n")
    message = broken(written)
    assert message.startswith("blocks.csv line ") and "is not valid CSV: field larger" in message


def test_text_that_is_none(written):
    (written / "blocks.csv").write_bytes(b"\xff\n")
    assert broken(written).startswith("blocks.csv cannot be read: 'utf-8' codec can't decode")


def test_a_rows_file_that_would_be_waited_for(written):
    (written / "blocks.csv").unlink()
    os.mkfifo(written / "blocks.csv")
    assert broken(written) == f"blocks.csv is not a regular file; {again(written)}"


def test_a_table_without_rows_file(written):
    (written / "blocks.csv").unlink()
    message = broken(written)
    assert message.startswith("blocks.csv cannot be read: ") and message.endswith(again(written))


# Broken device.yaml


def test_a_folder_without_device_file(tmp_path):
    assert broken(tmp_path) == " is not a latency table: it has no device.yaml; try: nas devices"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("threads: 1\n", "threads: 1\ncolour: red\n", "line 9: unknown key 'colour' in the docum"),
        ("opset: 17", "opsets: 17", "line 12: unknown key 'opsets' in export"),
        ("schema: 1", "schema: 2", "line 1: schema: input should be 1; got 2"),
        ("threads: 1\n", "threads: one\n", "line 8: threads: input should be a valid integer; got"),
        ("threads: 1\n", "threads: 0\n", "line 8: threads: input should be greater than 0; got 0"),
        ("opset: 17", "opset: 9", "line 12: export.opset: input should be greater than or equal"),
        ("precision: fp32\nexport", "precision: fp64\nexport", "line 10: precision: input should"),
        ("name: nuc-onn", "name: NUC-onn", "line 2: name: input should be small letters"),
        ("rows: 3", "rows: 0", ": rows: input should be greater than 0; got 0"),
        ("rows: 3\n", "", "a measured table has rows, and no roofline"),
        ("kind: measured", "kind: estimated", "an estimated table has a roofline and a certifica"),
        ("kind: measured", "kind: guessed", ": provenance.kind: input should be 'measured' or"),
        ("constant_ms: 0.01", "constant_ms: .nan", "constant_ms: input should be a finite number"),
        ("sum_factor: 0.9", "sum_factor: -0.9", "sum_factor: input should be greater than 0; got"),
        ("mape: 0.02", "mape: .nan", "certificate.mape: input should be"),
        ("name: nuc-onn", "name: [nuc", "line 3 is not valid YAML: "),
    ],
)
def test_a_broken_device_file(written, old, new, expected):
    edit(written, old, new, "device.yaml")
    message = broken(written)
    assert message.startswith("device.yaml") and expected in message


# Names


def test_a_table_is_found_by_name_alias_and_folder(written):
    expected = read_table(written)
    assert (
        load_table("nuc-onnxruntime") == load_table("nuc") == load_table(str(written)) == expected
    )


def test_shipped_tables_are_found_by_alias():
    assert load_table("jetson-nano").name == "jetson-nano-tensorrt"
    assert load_table("raspberry-pi-4").provenance == "estimated"
    assert set(table_folders()) >= SHIPPED


def test_an_unknown_device_lists_the_known_ones(written):
    with pytest.raises(OptionError) as caught:
        load_table("toaster")
    known = str(caught.value).split("allowed: ")[1].split("; ")[0].split(", ")
    assert str(caught.value).startswith("no latency table has this device name; got 'toaster'; ")
    assert known == sorted(known)
    assert {"nuc", "nuc-onnxruntime", "jetson-nano", "raspberry-pi-4", *SHIPPED} <= set(known)
    assert str(caught.value).endswith(
        "; try: nas devices, or measure it: nas profile --device toaster"
    )


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(TableError, match="no is not a latency table: it has no device.yaml"):
        load_table(str(tmp_path / "no"))


def test_the_working_folder_wins(written, make_table, tmp_path, monkeypatch):
    here = tmp_path / "here" / "latency_tables" / "nuc-onnxruntime"
    write_table(make_table(here, hardware="the one in the working folder"))
    monkeypatch.chdir(tmp_path / "here")
    assert load_table("nuc").device.hardware == "the one in the working folder"


def test_params_are_canonical_json(written):
    key = next(iter(read_table(written).rows))
    assert json.loads(key.block.params_json) == dict(key.block.params)
    assert key.block.params_json == json.dumps(
        dict(key.block.params), sort_keys=True, separators=(",", ":")
    )
