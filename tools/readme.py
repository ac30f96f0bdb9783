"""Refresh the parts of README.md and the documentation that a machine writes: python -m tools.readme [--check]

A part stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`. All its numbers come from results/reference/, which
`make reference` fills; with --check nothing is written, and the exit code is 1 if a part is not what the script would write.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from snakemake_logger_plugin_sibp.plan import duration

from sibp.bench.labels import ENGINE, SIBP
from sibp.core import atomic
from sibp.experiments import specs
from workflow.figures import papers
from workflow.figures.exhibit import exhibits
from workflow.scripts import gallery
from workflow.scripts.findings import QUESTIONS, VERDICTS, counted

ROOT = Path(__file__).resolve().parents[1]
PICTURES, MOST_PICTURES = ("j-fig10", "j-fig4", "j-fig3", "j-fig6", "j-fig8", "i-fig2"), 3  # the first of these that were made
TABLES = ("a-table1", "j-table2")
EMPTY = "No run's results are kept in the repository yet; after `make`, `make reference readme` puts them here."


class Reference:
    """The kept results: what each exhibit is, what each experiment cost, and the verdicts."""

    def __init__(self, folder: Path, experiments: Path) -> None:
        self.folder = folder
        self.experiments = experiments
        self.jobs = pd.read_csv(folder / "provenance.csv", dtype={"commit": str})
        pages = [json.loads(file.read_text(encoding="utf-8")) for file in (folder / "exhibits").glob("*.json")]
        pages.sort(key=lambda page: papers.place(page["id"]))
        self.exhibits: dict[str, dict[str, Any]] = {page["id"]: page for page in pages}

    def sources(self, exhibit: str) -> tuple[str, ...]:
        """Return the experiments whose runs an exhibit is drawn from."""
        return specs.load_experiment(self.experiments / f"{exhibit}.yaml", shallow=True).sources

    def stamp(self) -> str:
        """Return by what, where and from which commits the results were made."""
        jobs = self.jobs
        commits = [str(commit)[:8] for commit in jobs["commit"].dropna().unique()]
        # provenance.csv names each job's
        made_at = f"commit {commits[0] if commits else 'unknown'}" if len(commits) < 2 else f"{len(commits)} commits"
        return (
            f"Scale **{_distinct(jobs['scale'])}**: {jobs['exhibit'].nunique()} experiments, {jobs['members'].sum()} networks, "
            f"{duration(jobs['total_seconds'].sum())} on {_distinct(jobs['device'])}, {made_at}."
        )


def results(reference: Reference | None) -> str:
    """Return the stamp, the count of verdicts, also by question, and some pictures."""
    if reference is None:
        return EMPTY
    parts = [reference.stamp()]
    if (claims := reference.folder / "claims.json").is_file():
        rows = json.loads(claims.read_text(encoding="utf-8"))
        parts += [f"**The papers' claims.** {counted(rows)}", verdicts(rows)]
    shown = [name for name in PICTURES if name in reference.exhibits and reference.exhibits[name]["figure"]][:MOST_PICTURES]
    for name in shown:
        page = reference.exhibits[name]
        size = page["reductions"] or "the papers' own size"
        picture = f"![{page['title']}](results/reference/figures/{name}.png)"
        parts.append(f"{picture}\n\n*{page['title']}* ({page['paper']}). {size[:1].upper()}{size[1:]}.")
    return "\n\n".join(parts)


def verdicts(claims: list[dict[str, Any]]) -> str:
    """Return a line for each question: how many of its claims have which verdict at the papers' size, and how many wait for that."""
    names = VERDICTS[:-1]
    lines = [f"| at the papers' own size | {' | '.join(names)} | waiting |", f"| --- |{' --- |' * (len(names) + 1)}"]
    for question, title in QUESTIONS.items():
        if not (own := [claim for claim in claims if claim["question"] == question]):
            continue
        judged = [claim["verdict"] for claim in own if claim["size"] == "papers'"]
        counts = [*map(judged.count, names), len(own) - len(judged)]
        lines.append(f"| {title} | {' | '.join(str(count or '') for count in counts)} |")
    return "\n".join(lines)


def table(reference: Reference | None) -> str:
    """Return the tables of step sizes."""
    if reference is None:
        return EMPTY
    tables = [reference.folder / "tables" / f"{name}.md" for name in TABLES if name in reference.exhibits]
    return "\n\n".join(file.read_text(encoding="utf-8").strip() for file in tables)


def cost(reference: Reference | None) -> str:
    """Return a line for each exhibit: command, networks, time and a link."""
    if reference is None:
        return EMPTY
    note = "Training is without data, start-up and evaluation. Exhibits drawn from the same runs share them."
    lines = [f"{reference.stamp()} {note}", ""]
    lines += ["| exhibit | in the paper | alone | networks | training | in all |", "| --- | --- | --- | --- | --- | --- |"]
    for name, page in reference.exhibits.items():
        jobs = reference.jobs[reference.jobs["exhibit"].isin(reference.sources(name))]
        times = [duration(jobs[key].sum()) if len(jobs) else "" for key in ("train_seconds", "total_seconds")]
        cells = [f"[{page['title']}](../results/reference/tables/{name}.md)", page["paper"], f"`snakemake --cores all {name}`"]
        lines.append(f"| {' | '.join([*cells, str(jobs['members'].sum() or ''), *times])} |")
    return "\n".join(lines)


def listing(_: Reference | None) -> str:
    """Return a line for each exhibit: target, place, title, and where its numbers come from; the papers' order."""
    lines = ["| target | in the paper | what | its numbers are |", "| --- | --- | --- | --- |"]
    for exhibit in sorted(exhibits(), key=lambda exhibit: papers.place(exhibit.id)):
        experiment = exhibit.experiment
        paper = experiment.paper
        place = f"{paper.source} {paper.section}, {paper.exhibit}" if paper else "beyond the papers"
        lines.append(f"| `{exhibit.id}` | {place} | {experiment.title} | {experiment.origin} |")
    return "\n".join(lines)


def speed(reference: Reference | None) -> str:
    """Return for each network of the one-thread cost table how long a step of SIBP takes, over torch's SGD."""
    if reference is None or not (file := reference.folder / "costs/x-cost/one-thread.json").is_file():
        return EMPTY
    cost = json.loads(file.read_text(encoding="utf-8"))
    lines = [
        "| network | `sibp.SIBP` on a module | the exhibits' engine | the engine, over torch's fastest SGD |",
        "| --- |" + " --- |" * 3,
    ]
    for case in cost["cases"]:
        steps = {row["step"]: row for row in case["steps"]}
        module, engine = steps[SIBP], steps[ENGINE]
        lines.append(f"| {case['case']} | {module['ratio']:.2f} | {engine['ratio']:.2f} | {engine['best_ratio']:.2f} |")
    batches = _distinct(pd.Series([case["batch"] for case in cost["cases"]]))
    told = f"One thread of {cost['environment']['processor']['name']}, batches of {batches}; the exhibit `x-cost` has all steps."
    return "\n".join([*lines, "", told])


def pictures(reference: Reference | None) -> str:
    """Return all kept exhibits, pictures and tables."""
    if reference is None:
        return EMPTY
    places = (reference.folder / "tables", reference.folder / "figures", ROOT / "figures/README.md")
    return gallery.sections(list(reference.exhibits.values()), *places)


PAGES = {
    "README.md": {"speed": speed, "results": results},
    "docs/results.md": {"table": table, "cost": cost},
    "docs/exhibits.md": {"exhibits": listing},
    "figures/README.md": {"gallery": pictures},
}


def refreshed(page: str, text: str, reference: Reference | None) -> str:
    """Return a page's text with each part as it should be.

    Raises:
        SystemExit: if a part's markers are not there exactly once.
    """
    for name, write in PAGES[page].items():
        pattern = rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)"
        content = write(reference)
        text, replaced = re.subn(pattern, lambda match, new=content: f"{match[1]}{new}\n{match[2]}", text, flags=re.DOTALL)
        if replaced != 1:
            raise SystemExit(f"{page}: got {replaced} parts between <!-- {name}:begin --> and <!-- {name}:end -->, need 1")
    return text


def reference_results(folder: Path, experiments: Path) -> Reference | None:
    """Return the kept results, or None where there are none."""
    return Reference(folder, experiments) if (folder / "provenance.csv").is_file() else None


def _distinct(values: pd.Series) -> str:
    return ", ".join(map(str, dict.fromkeys(values)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if something would change")
    check = parser.parse_args().check
    reference = reference_results(ROOT / "results/reference", ROOT / "workflow/experiments")
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        new = refreshed(page, text, reference)
        if check and new != text:
            sys.exit(f"{page}: not in step with results/reference: run `make readme`")
        if not check and new != text:
            atomic.write(ROOT / page, new)


if __name__ == "__main__":
    main()
