"""Whether a run's supernet was trained for long enough that its ranks can be trusted.

Held against what needs no network: a linear model on a few pixels (docs/decisions/0015-ranking.md).
"""

from __future__ import annotations

from dataclasses import replace

from nas.accuracy.linear import linear_score
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.search.candidates import random_architectures
from nas.search.preparation import Inputs
from nas.search.ranked import CHECK, supernet_lines
from nas.search.run_folder import RunFolder
from nas.search.watch import Watcher
from nas.search.work import CHECKED_NETWORKS

MOST_IMAGES = 500
"""That are scored with each architecture."""


def check_supernet(
    run: RunFolder, inputs: Inputs, evaluator: SupernetEvaluator, steps: int, watcher: Watcher
) -> None:
    """Score random architectures within the limits; the result is logged once, and said if bad.

    Args:
        run: Of the search.
        inputs: Of it.
        evaluator: Scores with the trained supernet's weights.
        steps: That it was trained for.
        watcher: Hears about the progress.
    """
    found, seed = run.logged(CHECK), inputs.settings.seed
    if not found:
        images = min(evaluator.validation_images, MOST_IMAGES)
        evaluator = replace(evaluator, validation_images=images)
        drawn = random_architectures(inputs.costing, inputs.start, CHECKED_NETWORKS, seed)
        values = []
        for number, architecture in enumerate(drawn):
            watcher.progress(CHECK, number, len(drawn))
            values.append(evaluator.evaluate(architecture).value)
        watcher.progress(CHECK, len(drawn), len(drawn))
        linear = linear_score(inputs.dataset, images, evaluator.metric)
        found = {
            "steps": steps, "networks": values, "linear": linear.value,
            "linear_interval": linear.interval, "images": images, "metric": evaluator.metric,
        }  # fmt: skip
        run.log(CHECK, **found)
    for line in supernet_lines(found, inputs.settings.supernet):
        watcher.say(line)
