"""Say about how long training jobs take.

    python -m sibp.bench.durations < JOBS > SECONDS

JOBS is JSON: `device` (cpu or cuda), `scale` (its name, or the path of its file), `scales` (the folder of scales) and `jobs`, which
gives for each job's number its experiment's file and labels. SECONDS is JSON, too: the seconds of each job. Torch takes seconds to import,
so for the workflow's display this is a process of its own.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from sibp.bench import cost, count_cache, rates
from sibp.experiments import specs

__all__ = ["seconds"]


def seconds(request: dict[str, Any]) -> dict[str, float]:
    """Return about how many seconds each job takes, by its number: counted steps and evaluations at a device's rates.

    A job whose steps cannot be counted is left out.

    A CPU's rates are measured, with one thread as the rules train. A GPU's are those of an H100, because a second process on the GPU could
    stand in the way of the first job.

    Args:
        request: what stands in JOBS.

    Returns:
        Seconds by the job's number. An experiment or a scale that cannot be read is a SpecError.
    """
    torch.set_num_threads(1)
    device = "h100" if request["device"] == "cuda" else rates.measured(torch.device("cpu"))
    scale, result = specs.load_scale(request["scale"], request["scales"]), {}
    for number, (path, labels) in request["jobs"].items():
        experiment = specs.resolve(specs.load_experiment(path), scale)
        try:
            result[number] = sum(cost.estimate(experiment.trained, label, device).seconds for label in labels)
        except RuntimeError as fault:
            print(f"not counted: {experiment.id}: {fault}", file=sys.stderr)
    return result


def main() -> None:
    torch.set_num_threads(1)
    count_cache.keep_in(Path(".snakemake/counts"))  # a workflow's own: it leaves nothing but data and kernels in the user's cache
    print(json.dumps(seconds(json.load(sys.stdin))))


if __name__ == "__main__":
    main()
