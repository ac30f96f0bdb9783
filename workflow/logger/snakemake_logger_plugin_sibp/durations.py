"""About how long training jobs take: python -m snakemake_logger_plugin_sibp.durations < JOBS > SECONDS

JOBS is JSON: `device` (cpu or cuda), `scale` (its name, or the path of its file), `scales` (the folder of scales) and `jobs`, which
gives for each job's number its experiment's file and labels. SECONDS is JSON, too: the seconds of each job. Torch takes seconds to import,
so this is a process of its own, beside Snakemake.
"""

import json
import sys
from typing import Any

import torch

from sibp import doctor
from sibp.bench import cost, rates
from sibp.experiments import specs


def seconds(request: dict[str, Any]) -> dict[str, float]:
    """Return about how many seconds each job takes, by its number, the start of its process included.

    On a CPU by the estimate of `sibp doctor`, with this machine's rates of one thread, as the rules train. On a GPU by counted steps at the
    rates of an H100, because a second process on the GPU could stand in the way of the first job.

    Raises:
        SpecError: if an experiment or the scale cannot be read.
    """
    torch.set_num_threads(1)
    on_gpu = request["device"] == "cuda"
    speeds = None if on_gpu else doctor.rates(torch.device("cpu"))
    scale, result = specs.load_scale(request["scale"], request["scales"]), {}
    for number, (path, labels) in request["jobs"].items():
        experiment = specs.resolve(specs.load_experiment(path), scale)
        if on_gpu:
            result[number] = sum(cost.seconds(experiment, label) for label in labels)
        else:
            training = sum(doctor.cost(experiment, label).seconds(*speeds) for label in labels)
            result[number] = rates.CPU.job + training
    return result


def main() -> None:
    print(json.dumps(seconds(json.load(sys.stdin))))


if __name__ == "__main__":
    main()
