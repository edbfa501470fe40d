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
# MACs: 300 M (arXiv:1801.04381, table 4), 219 M and 56 M (arXiv:1905.02244, table 3), 41 M and
# 146 M (arXiv:1807.11164, table 5), 390 M (arXiv:1905.11946, table 2), torchvision's _ops for
# EfficientNetV2-S at 384 px and ResNet-18. EfficientNetV2-B0: timm's tf_efficientnetv2_b0.
@pytest.mark.parametrize(
    ("space", "reference", "params", "published_macs"),
    [
        ("mobilenetv1", "mobilenet_v1", 4_231_976, 569e6),
        ("mobilenetv2", "mobilenet_v2", 3_504_872, 300e6),
        ("mobilenetv3", "mobilenet_v3_large", 5_483_032, 219e6),
        ("mobilenetv3", "mobilenet_v3_small", 2_542_856, 56e6),
        ("shufflenetv2", "shufflenet_v2_x0_5", 1_366_792, 41e6),
        ("shufflenetv2", "shufflenet_v2_x1_0", 2_278_604, 146e6),
        ("efficientnetv2", "efficientnet_b0", 5_288_548, 390e6),
        ("efficientnetv2", "efficientnet_v2_b0", 7_139_704, 720e6),
        ("efficientnetv2", "efficientnet_v2_s", 21_458_488, 8_366e6),
        ("mixed", "resnet_18", 11_689_512, 1_814e6),
    ],
)
def test_published_networks(space, reference, params, published_macs):
    network = load_space(space).reference(reference)
    assert (network.resolution, network.classes) == (384 if params > 2e7 else 224, 1000)
    assert network.cost.params == params
    assert network.cost.macs == pytest.approx(published_macs, rel=0.015)


def test_squeezenet():
    """Our layers are padded, SqueezeNet's are not: more MACs from the same parameters."""
    network = load_space("squeezenet").reference("squeezenet_1_1")
    assert network.cost.params == 1_235_496
    assert 349e6 < network.cost.macs < 1.12 * 349e6


@pytest.mark.parametrize(
    ("space", "width", "reference"),
    [
        ("mobilenetv1", 1.0, "mobilenet_v1"),
        ("mobilenetv2", 1.0, "mobilenet_v2"),
        ("shufflenetv2", 0.5, "shufflenet_v2_x0_5"),
        ("shufflenetv2", 1.0, "shufflenet_v2_x1_0"),
        ("efficientnetv2", 1.0, "efficientnet_v2_b0"),
    ],
)
def test_the_large_plans_default_is_the_published_network(space, width, reference):
    """The space's hand-made network is its reference, found through the choices."""
    found = load_space(space)
    own = found.network(baseline(found, "large", width, 224))
    assert own.id == found.reference(reference).id
    assert own.cost == found.reference(reference).cost


def test_a_reference_takes_another_number_of_classes():
    network = load_space("mobilenetv1").reference("mobilenet_v1", classes=10)
    assert network.classes == 10
    assert network.cost.params == 4_231_976 - 990 * 1025
