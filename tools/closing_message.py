"""Say at the end of `make` where the results are and at what scale they were made: python -m tools.closing_message [--root FOLDER]"""

import argparse
from pathlib import Path

import pandas as pd
from snakemake_logger_plugin_sibp.plan import duration

from tools.single_instance import root_in


def message(root: Path, runs: pd.DataFrame) -> str:
    """Return the closing lines."""
    scale, device = (", ".join(dict.fromkeys(runs[name])) for name in ("scale", "device"))
    cost = duration(runs["total_seconds"].sum())
    note = "" if scale == "full" else " (reduced: every table and figure says how)"
    done = f"{runs['exhibit'].nunique()} experiments, {runs['members'].sum()} networks trained in {cost} on {device}"
    return (
        f"\nScale: {scale}{note}; {done}\n"
        f"  report   {root / 'paper/report.pdf'}\n"
        f"  figures  {root / 'figures'} (PNG, SVG; all.md shows them all), {root / 'paper/figures'} (PDF)\n"
        f"  tables   {root / 'paper/tables'} (LaTeX, Markdown, CSV)\n"
        f"  numbers  {root / 'results/summary'} (over the seeds), {root / 'results/runs'} (every evaluation of every network)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("."))
    arguments, options = parser.parse_known_args()  # Snakemake's options, of which `root=FOLDER` counts here, too
    root = root_in(options, arguments.root)
    costs = root / "results/provenance.csv"
    if costs.exists():
        print(message(root, pd.read_csv(costs)))
    else:  # only some exhibits were asked for; what they cost is counted when all are there
        print(f"\nThe exhibits asked for are in {root / 'paper/tables'}, {root / 'paper/figures'} and {root / 'figures'}.")


if __name__ == "__main__":
    main()
