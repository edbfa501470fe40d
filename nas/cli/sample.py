"""`nas sample`: random architectures of a space."""

from __future__ import annotations

import argparse
from typing import Any

from nas.cli.common import PLAN_HELP, command_parser, positive, print_json, seed


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = command_parser(
        commands,
        "sample",
        "draw random architectures",
        "nas sample --space mobilenetv3 -n 10 --seed 0 --json",
    )
    parser.add_argument("--space", default="mobilenetv3", help="search space (%(default)s)")
    parser.add_argument("--plan", help=PLAN_HELP)
    parser.add_argument("-n", type=positive, default=1, help="how many (%(default)s)")
    parser.add_argument("--seed", type=seed, default=0, help="of everything random (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print architecture objects")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run it."""
    import numpy as np

    from nas.space import load_space
    from nas.space.sample import sample
    from nas.units import format_count

    space = load_space(options.space)
    plan = options.plan or space.plans[0]
    rng = np.random.default_rng(options.seed)
    drawn = (sample(space, plan, rng) for _ in range(options.n))
    if options.json:
        return print_json([architecture.to_json() for architecture in drawn])
    for architecture in drawn:
        cost = space.network(architecture).cost
        print(
            f"{architecture.id}  {architecture.resolution} px  {format_count(cost.params)} params  "
            f"{format_count(cost.macs)} MACs"
        )
    return 0
