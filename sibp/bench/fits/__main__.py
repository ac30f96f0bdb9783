"""Train an experiment's `fits`.

python -m sibp.bench.fits EXPERIMENT.yaml [NETWORK...] [--scale NAME] [--device cpu] [--threads 1] [--out FOLDER]
"""

import argparse
import sys
from pathlib import Path

from sibp.bench.fits.study import study
from sibp.experiments import specs
from sibp.training import sampling


def main() -> int:
    """Run the command line.

    Returns:
        The exit code: 0, or 2 where something given is wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m sibp.bench.fits", description="Train an experiment's `fits`.")
    parser.add_argument("experiment", type=Path)
    parser.add_argument("networks", nargs="*", help="all by default")
    parser.add_argument("--scale", default=specs.FULL)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/fits"))
    arguments = parser.parse_args()
    try:
        scale = specs.load_scale(arguments.scale, arguments.experiment.resolve().parent.parent / "scales")
        experiment = specs.resolve(specs.load_experiment(arguments.experiment), scale)
        for label in arguments.networks or experiment.fitted:
            print(
                study(experiment, label, arguments.out, device=arguments.device, threads=arguments.threads),
                file=sys.stderr,
                flush=True,
            )
    except (specs.SpecError, sampling.data.DataError, ValueError) as fault:
        print(f"sibp.bench.fits: {fault}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
