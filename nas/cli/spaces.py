"""`nas spaces`: which search spaces there are, and what is in one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from nas.cli.common import command_parser, print_json

if TYPE_CHECKING:
    from nas.space import SearchSpace


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = command_parser(
        commands, "spaces", "list search spaces, or show one", "nas spaces show mobilenetv3"
    )
    parser.add_argument("action", nargs="?", choices=["list", "show"], default="list")
    parser.add_argument("name", nargs="?", help="space to show: a name or the path of its file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from nas.errors import OptionError
    from nas.space import load_space, space_names

    if options.action == "list" and options.name is not None:
        raise OptionError(
            "nas spaces list takes no name", got=options.name, do="nas spaces show NAME"
        )
    if options.action == "list":
        facts = [describe(load_space(name)) for name in sorted(space_names())]
        return print_json(facts) if options.json else _print_list(facts)
    if options.name is None:
        raise OptionError("nas spaces show needs a name", do="nas spaces")
    space = load_space(options.name)
    return print_json(describe(space)) if options.json else _print_space(space)


def describe(space: SearchSpace) -> dict[str, Any]:
    """Counts and ranges of a space, per plan, and its references."""
    from nas.space import sample as sampling

    plans = {}
    for plan in space.plans:
        ends = {}
        for cost in ("params", "macs"):
            least = space.network(sampling.smallest(space, plan, cost))
            most = space.network(sampling.largest(space, plan, cost))
            ends[cost] = [getattr(least.cost, cost), getattr(most.cost, cost)]
        plans[plan] = {
            "architectures": sampling.count(space, plan),
            "encodings": sampling.count_encodings(space, plan),
            "resolutions": space.plan(plan).resolutions,
            **ends,
        }
    references = {
        name: {
            "params": space.reference(name).cost.params,
            "macs": space.reference(name).cost.macs,
            "resolution": space.reference(name).resolution,
        }
        for name in space.file.references
    }
    return {
        "name": space.name,
        "description": space.file.description,
        "source": space.file.source,
        "plans": plans,
        "references": references,
    }


def _range(values: list[int]) -> str:
    from nas.units import format_count

    return f"{format_count(values[0])} - {format_count(values[1])}"


def _pixels(resolutions: list[int]) -> str:
    return f"{min(resolutions)}-{max(resolutions)}" if len(resolutions) > 1 else str(resolutions[0])


def _count(value: int) -> str:
    return f"{value:,}" if value < 1e9 else f"{value:.2g}"


def _print_list(facts: list[dict[str, Any]]) -> int:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("space", "plan", "px", "networks", "params", "MACs"):
        table.add_column(heading, no_wrap=True)
    for fact in facts:
        for plan, values in fact["plans"].items():
            table.add_row(
                fact["name"], plan, _pixels(values["resolutions"]),
                _count(values["architectures"]), _range(values["params"]), _range(values["macs"]),
            )  # fmt: skip
    Console().print(table)
    return 0


def _print_space(space: SearchSpace) -> int:
    from rich.console import Console
    from rich.markup import escape

    console, facts = Console(), describe(space)
    console.print(f"[bold]{space.name}[/bold]  {escape(space.file.description)}")
    console.print(f"source: {escape(space.file.source)}\n" if space.file.source else "")
    for plan, values in facts["plans"].items():
        console.print(
            f"plan [bold]{plan}[/bold]: {_count(values['architectures'])} architectures, "
            f"{', '.join(map(str, values['resolutions']))} px, {_range(values['params'])} params, "
            f"{_range(values['macs'])} MACs"
        )
    console.print("\nchoices (the first plan's resolutions; the others are the same in every plan)")
    for dimension in space.dimensions(space.plans[0]):
        console.print(f"  {dimension.name}: {', '.join(map(str, dimension.choices))}")
    for name, values in facts["references"].items():
        console.print(
            f"\nreference [bold]{space.name}/{name}[/bold]: {values['params']:,} params, "
            f"{values['macs']:,} MACs at {values['resolution']} px",
            end="",
        )
    console.print()
    return 0
