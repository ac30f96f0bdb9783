"""What every notebook of an exhibit needs: its settings, the papers' values, our runs and their summary, and one call that saves.

    exhibit = Exhibit("j-table2")
    exhibit.summary       one row per setting and evaluation, over the seeds
    exhibit.save(caption="...", table=table, data=frame, figure=None)

Paths lie below the repository, or below the folder that SIBP_ROOT names.
"""

import json
import os
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sibp.core import atomic
from sibp.experiments import size, specs, yaml_file
from sibp.experiments.jobs import Job, of_record
from sibp.experiments.schema import Experiment
from sibp.results import processor, quantities, records, summary
from workflow.figures import fits, papers, style
from workflow.figures.layout import Table

WORKFLOW = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Exhibit:
    """One table or figure of a paper and the runs that it is drawn from."""

    id: str

    @cached_property
    def root(self) -> Path:
        return WORKFLOW.parent / os.environ.get("SIBP_ROOT", ".")

    @cached_property
    def experiment(self) -> Experiment:
        """What its experiment file says."""
        return specs.load_experiment(WORKFLOW / "experiments" / f"{self.id}.yaml", shallow=True)

    @cached_property
    def sources(self) -> list["Exhibit"]:
        """The experiments that this exhibit is drawn from: those that its file names under `runs`, or itself."""
        return [Exhibit(name) for name in self.experiment.sources]

    @cached_property
    def paper(self) -> dict[str, Any]:
        """The paper's values, from workflow/papers.yaml; empty beyond the papers."""
        return papers.read().get(self.id, {})

    @property
    def place(self) -> str:
        """Where it stands in its paper."""
        paper = self.experiment.paper
        return f"{paper.source}, Section {paper.section}, {paper.exhibit}" if paper else "beyond the papers"

    @property
    def source(self) -> "Exhibit":
        """The one experiment that this exhibit is drawn from; an exhibit with several asks each of its `sources`."""
        (exhibit,) = self.sources
        return exhibit

    @cached_property
    def _folder(self) -> Path:
        return self.root / "results" / "runs" / self.source.id

    @cached_property
    def records(self) -> dict[str, dict[str, Any]]:
        """What each run says of itself, by label."""
        labels = self.source.experiment.labels
        return {label: records.read_record(self._folder / f"{label}.parquet") for label in labels}

    @cached_property
    def runs(self) -> pd.DataFrame:
        """All rows of all labels: one per member and evaluation."""
        return pd.concat([records.read(self._folder / f"{label}.parquet").rows for label in self.records], ignore_index=True)

    def cuts(self, label: str) -> pd.DataFrame:
        """Return what pruning left of a label's networks, see `sibp.results.quantities.cuts`."""
        return quantities.cuts(self.records[label])

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The rows of results/summary: one per setting and evaluation."""
        return pd.read_csv(self.root / "results" / "summary" / f"{self.source.id}.csv")

    @property
    def hyperparameters(self) -> list[str]:
        return summary.settings(self.summary)

    @cached_property
    def final(self) -> pd.DataFrame:
        """The summary's last evaluation of each setting."""
        return summary.last(self.summary)

    @cached_property
    def costs(self) -> dict[str, dict[str, Any]]:
        """The measurements of what steps cost, by label."""
        folder = self.root / "results" / "costs" / self.id
        return {label: json.loads((folder / f"{label}.json").read_text(encoding="utf-8")) for label in self.experiment.measurements}

    @cached_property
    def fits(self) -> dict[str, dict[str, Any]]:
        """The networks beyond the papers' kinds that have been trained, by name, in the experiment file's order."""
        folder = self.root / "results" / "fits" / self.id
        files = {label: folder / f"{label}.json" for label in self.experiment.fitted}
        return {label: json.loads(file.read_text(encoding="utf-8")) for label, file in files.items() if file.is_file()}

    @property
    def scale(self) -> str:
        """The scale of the runs; `full` where nothing is trained."""
        made = [*self._all_records, *self.costs.values(), *self.fits.values()]
        return next((record["scale"] for record in made), "full")

    @property
    def reductions(self) -> str:
        """What the runs leave out of the experiment file, in words: empty at full scale."""
        if mixed := [source for source in self.sources if source._is_mixed]:
            return "; ".join(f"{source.id}: {source._by_label()}" if len(mixed) > 1 else source._by_label() for source in mixed)
        sources = {source.id: [part for label in source.records for part in source._reductions(label)] for source in self.sources}
        everywhere = [part for part in next(iter(sources.values())) if all(part in parts for parts in sources.values())]
        everywhere += [part for cost in self.costs.values() for part in _fewer_networks(cost)]
        everywhere += fits.reductions(self.experiment, self.fits)
        texts = [", ".join(dict.fromkeys(everywhere))]
        for name, parts in sources.items():  # what is one experiment's own carries its name
            own = ", ".join(dict.fromkeys(part for part in parts if part not in everywhere))
            texts += [f"{name} {own}"] if own else []
        return f"{self.scale} scale: {'; '.join(filter(None, texts))}" if any(texts) else ""

    @property
    def hardware(self) -> str:
        """On what the runs or the measurements were made."""
        made = [*self._all_records, *(each["environment"] for each in [*self.costs.values(), *self.fits.values()])]
        names = (f"{r['device']}, {r['threads']} thread{'s'[: r['threads'] > 1]}" for r in made)
        return "; ".join(dict.fromkeys(names))

    @property
    def processors(self) -> str:
        """The processors behind the measurements, with their vector instructions."""
        return "; ".join(dict.fromkeys(processor.in_words(cost["environment"]["processor"]) for cost in self.costs.values()))

    @property
    def seeds(self) -> int:
        return len({seed for record in self._all_records for seed in record["seeds"]})

    @property
    def _seeds_in_words(self) -> str:
        counts = [len(record["seeds"]) for record in self._all_records]
        return " to ".join(map(str, sorted({min(counts), max(counts)})))

    @property
    def _all_records(self) -> list[dict[str, Any]]:
        return [record for source in self.sources for record in source.records.values()]

    @property
    def _is_mixed(self) -> bool:
        """Whether its labels' runs come from different scales or have different seeds, as kept results of several origins do."""
        return len({(record["scale"], len(record["seeds"])) for record in self.records.values()}) > 1

    def _by_label(self) -> str:
        """Return in words at which size each label ran, labels of one size together."""
        sizes: dict[tuple[str, ...], list[str]] = {}
        for label, name in style.names(self.experiment, self.records).items():
            sizes.setdefault(tuple(self._reductions(label)), []).append(name)
        return "; ".join(f"{', '.join(labels)} at {', '.join(parts) or PAPERS_SIZE}" for parts, labels in sizes.items())

    def _reductions(self, label: str) -> list[str]:
        record, file = self.records[label], self.experiment.trained
        ran = of_record(record, label, f"{self.id}/{label}.parquet")
        fewer = [f"{ran.experiment.seeds} of {file.seeds} seeds"] * (ran.experiment.seeds < file.seeds)
        return [*size.reductions(ran, Job(file, label)), *fewer]

    def caption(self, text: str) -> str:
        """Return a caption that also says which paper, scale, number of seeds and hardware it is about."""
        facts = [f"After {self.place}."] if self.experiment.paper else []
        if self._all_records:
            scale = self.reductions or "Full scale: the papers' settings"
            facts.append(f"{scale[0].upper()}{scale[1:]}. Seeds: {self._seeds_in_words}. Trained on {self.hardware}.")
        if self.costs or self.fits:
            made = "Measured" if self.costs else "Trained"
            facts.append(f"{self.reductions[:1].upper()}{self.reductions[1:] or 'Full scale'}. {made} on {self.hardware}.")
        return " ".join([text, *facts, *filter(None, [self.experiment.note])]).replace("\n", " ").strip()

    def save(
        self,
        caption: str,
        table: Table,
        data: pd.DataFrame,
        figure: Figure | None = None,
        alt: str | None = None,
        finding: str | None = None,
    ) -> None:
        """Write paper/tables/<id>.{tex,md,csv}, the figure in its three forms, and paper/exhibits/<id>.json for the report.

        Args:
            caption: of the exhibit, see `caption`.
            table: the exhibit itself, or the numbers behind its figure.
            data: the same numbers in long form, for the CSV file.
            figure: None for a table.
            alt: what the figure shows, in a sentence or two, for those who cannot see it; None takes the title.
            finding: what it says beyond the papers' claims, for the report's first page; its numbers come from the runs.
        """
        paper, figures, alt = self.root / "paper", self.root / "figures", alt or self.experiment.title
        atomic.write(paper / "tables" / f"{self.id}.tex", table.latex(self.id))
        atomic.write(paper / "tables" / f"{self.id}.md", table.markdown())
        atomic.write(paper / "tables" / f"{self.id}.csv", data.to_csv(index=False))
        if figure is not None:
            style.stamp(figure, self.reductions)
            made = {"Date": None, "Creator": "sibp", "Title": self.experiment.title, "Description": alt}
            pictures = {
                paper / "figures" / f"{self.id}.pdf": {"CreationDate": None},
                figures / f"{self.id}.svg": made,
                figures / f"{self.id}.png": None,
            }
            for path, facts in pictures.items():
                atomic.write(path, partial(figure.savefig, format=path.suffix.removeprefix("."), metadata=facts))
        page = {
            "id": self.id,
            "title": self.experiment.title,
            "paper": self.place,
            "caption": caption,
            "alt": alt,
            "scale": self.scale,
            "reductions": self.reductions,
            "hardware": self.hardware,
            "figure": figure is not None,
            "table": table.structure(),
        } | ({"finding": finding} if finding else {})
        atomic.write(paper / "exhibits" / f"{self.id}.json", json.dumps(page, indent=1))


PAPERS_SIZE = "the papers' own size"


def exhibits() -> list[Exhibit]:
    """Return all exhibits: the experiments whose files say what they show."""
    every = [Exhibit(name) for name in yaml_file.names(WORKFLOW / "experiments")]
    return [exhibit for exhibit in every if exhibit.experiment.shows]


def _fewer_networks(cost: dict[str, Any]) -> list[str]:
    measured, all_of_them = len(cost["cases"]), cost["environment"]["networks"]
    parts = ["small networks"] if cost["environment"]["quick"] else []
    return parts + ([f"{measured} of {all_of_them} networks"] if measured < all_of_them else [])
