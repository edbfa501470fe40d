"""Params and MACs against what was published, number by number."""

import itertools
import json
from pathlib import Path

import pytest

from nas.space import load_space
from nas.space.sample import baseline, count, count_encodings

# Every encoding of the benchmark with what its authors counted; 1.2 MB, so not part of this
# repository. From https://github.com/xiusu/NAS-Bench-Macro, data/nas-bench-macro_cifar10.json.
REFERENCE_FILE = Path(__file__).parents[3] / "shared" / "data" / "nas-bench-macro_cifar10.json"

# A few of its rows: encoding, params, MACs (the file calls them flops).
MACRO_ROWS = [
    ("00000000", 387_882, 7_713_280),
    ("10000000", 396_298, 12_128_768),
    ("02012100", 890_666, 47_327_744),
    ("00011110", 1_118_378, 31_390_208),
    ("11111111", 1_588_874, 53_246_464),
    ("21011012", 1_879_338, 57_213_440),
    ("11111221", 2_181_386, 65_012_224),
    ("22222222", 2_932_586, 105_660_928),
]
VARIANTS = ("skip", "k3e3", "k5e6")
MACRO = load_space("nas-bench-macro")


def macro_network(code):
    names = [dimension.name for dimension in MACRO.choice_dimensions]
    choices = {name: VARIANTS[int(digit)] for name, digit in zip(names, code, strict=True)}
    return MACRO.network(MACRO.architecture("small", 32, choices), classes=10)


@pytest.mark.parametrize(("code", "params", "macs"), MACRO_ROWS)
def test_networks_of_nas_bench_macro(code, params, macs):
    cost = macro_network(code).cost
    assert (cost.params, cost.macs) == (params, macs)


def test_all_networks_of_nas_bench_macro():
    if not REFERENCE_FILE.is_file():
        pytest.skip(
            f"{REFERENCE_FILE.name} is not beside the repository; get it from "
            "github.com/xiusu/NAS-Bench-Macro to compare all 6,561 encodings"
        )
    rows = json.loads(REFERENCE_FILE.read_text(encoding="utf-8"))
    assert len(rows) == 6561
    costs = {code: macro_network(code).cost for code in rows}
    wrong = {
        code: (cost.params - rows[code]["params"], cost.macs - rows[code]["flops"])
        for code, cost in costs.items()
        if (cost.params, cost.macs) != (rows[code]["params"], rows[code]["flops"])
    }
    assert wrong == {}


def test_nas_bench_macro_has_6561_encodings_of_3969_networks():
    assert count_encodings(MACRO, "small") == 6561
    assert count(MACRO, "small") == 3969
    codes = map("".join, itertools.product("012", repeat=8))
    assert len({macro_network(code).id for code in codes}) == 3969


# MobileNetV1: 4.2 M and 569 M in Howard et al. 2017 (arXiv:1704.04861), table 4; the others are
# torchvision's num_params of the weights (mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small).
# MACs: 300 M (arXiv:1801.04381, table 4), 219 M and 56 M (arXiv:1905.02244, table 3).
@pytest.mark.parametrize(
    ("space", "reference", "params", "published_macs"),
    [
        ("mobilenetv1", "mobilenet_v1", 4_231_976, 569e6),
        ("mobilenetv2", "mobilenet_v2", 3_504_872, 300e6),
        ("mobilenetv3", "mobilenet_v3_large", 5_483_032, 219e6),
        ("mobilenetv3", "mobilenet_v3_small", 2_542_856, 56e6),
    ],
)
def test_published_mobilenets(space, reference, params, published_macs):
    network = load_space(space).reference(reference)
    assert (network.resolution, network.classes) == (224, 1000)
    assert network.cost.params == params
    assert network.cost.macs == pytest.approx(published_macs, rel=0.015)


@pytest.mark.parametrize("space", ["mobilenetv1", "mobilenetv2"])
def test_the_large_plans_default_is_the_published_network(space):
    """The space's hand-made network at width 1 is its reference, found through the choices."""
    found = load_space(space)
    (reference,) = found.file.references
    own = found.network(baseline(found, "large", 1.0, 224))
    assert own.id == found.reference(reference).id
    assert own.cost == found.reference(reference).cost


def test_a_reference_takes_another_number_of_classes():
    network = load_space("mobilenetv1").reference("mobilenet_v1", classes=10)
    assert network.classes == 10
    assert network.cost.params == 4_231_976 - 990 * 1025
