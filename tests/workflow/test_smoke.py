"""All exhibits from end to end on generated data, with neither a network nor a data cache, by the rules that `make` uses."""

import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest

from tests.workflow import browser
from tests.workflow.conftest import EXHIBITS, FIGURES, copy_repository, jobs, snakemake

SMOKE = ("--configfile", "workflow/smoke.yaml", "--config", "root=my out")


def files(folder: Path) -> set[str]:
    """Return all files but Snakemake's own, the cache's and Python's."""
    ours = {"cache", ".snakemake", "__pycache__"}
    found = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return {str(file) for file in found if not ours & set(file.parts)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Run the workflow in a copy of the repository; return the folder, the files that were in it before, and what the run printed."""
    folder = copy_repository(tmp_path_factory.mktemp("smoke"))
    before = files(folder)
    return folder, before, snakemake(folder, *SMOKE)


def test_every_form_of_every_exhibit_is_there(made):
    out = made[0] / "my out"
    for exhibit in EXHIBITS:
        assert all((out / f"paper/tables/{exhibit}.{form}").stat().st_size for form in ("tex", "md", "csv"))
        page = json.loads((out / f"paper/exhibits/{exhibit}.json").read_text(encoding="utf-8"))
        pictures = [f"paper/figures/{exhibit}.pdf", f"figures/{exhibit}.svg", f"figures/{exhibit}.png"]
        assert page["figure"] == all((out / picture).is_file() for picture in pictures) == (exhibit in FIGURES)
    assert (out / "paper/report.pdf").read_bytes().startswith(b"%PDF")


def test_a_run_in_a_pipe_is_a_table_and_few_short_lines_with_the_full_log_in_a_file(made):
    lines = made[2].splitlines()
    assert len(lines) <= 300 and max(map(len, lines)) <= 200
    begin = next(number for number, line in enumerate(lines) if line.split() == ["scale", "smoke", "(reduced)"])
    table = {line[2:14].strip(): line[14:].strip() for line in lines[begin : begin + 7]}
    assert list(table) == ["scale", "device", "jobs", "done before", "time", "disk", "full log"]
    assert not any(" jobs" in line for line in lines[:begin])  # nothing has started yet
    count = int(table["jobs"].partition(":")[0])
    assert re.match(rf"{count} of {count} jobs done in .*; full log: ", lines[-1])
    assert f"Finished jobid: 0 (Rule: all)\n{count} of {count} steps" in (made[0] / table["full log"]).read_text(encoding="utf-8")


def test_the_scale_is_named_wherever_something_was_trained(made):
    out = made[0] / "my out"
    for exhibit in ("i-table1", "j-fig3"):
        page = json.loads((out / f"paper/exhibits/{exhibit}.json").read_text(encoding="utf-8"))
        assert page["scale"] == "smoke"
        assert "smoke scale" in page["caption"].lower() and "2 of 5 seeds" in page["caption"]
    assert set(pd.read_csv(out / "results/provenance.csv")["scale"]) == {"smoke"}


def test_nothing_is_written_outside_the_root_and_nothing_half(made):
    folder, before, _ = made
    new = files(folder) - before
    assert {path for path in new if not path.startswith("my out/")} == set()
    assert {path for path in new if Path(path).name.startswith(".")} == set()


def test_no_data_was_fetched(made):
    assert {path.name for path in (made[0] / "cache").glob("*")} <= {"native"}
    assert not (made[0] / "my out/results/data").exists()


@pytest.fixture(scope="module")
def page(made):
    """The HTML report of Snakemake on that run."""
    snakemake(made[0], *SMOKE, "--report", "my out/report.html")
    return made[0] / "my out/report.html"


def test_the_report_of_snakemake_holds_the_exhibits_with_their_captions(page):
    text = page.read_text(encoding="utf-8")
    assert all(exhibit in text for exhibit in EXHIBITS)
    assert "Where the gradient of (w^7 - 1)^2 vanishes" in text


@pytest.mark.skipif(browser.BROWSER is None, reason="needs chromium")
def test_a_browser_shows_every_figure_with_its_caption_and_no_error(page, tmp_path):
    figures, others = browser.walk(page, tmp_path)
    assert figures.keys() == FIGURES, others
    assert all(width > 300 for width, _ in figures.values())
    assert "Where the gradient of (w^7 - 1)^2 vanishes" in figures["j-fig2"][1] and "Scale: smoke" in figures["j-fig3"][1]
    assert others == [f"SEEN {len(figures)}"]  # nothing but the walk's own last line


def test_a_second_run_does_nothing_also_after_a_notebook_was_touched_and_draws_it_anew_after_an_edit(made):
    """Also an edit of what a notebook computes with: `theory` and `j-table1` measure the methods themselves."""
    files = [made[0] / name for name in ("workflow/notebooks/j-fig2.py", "sibp/theory/problems.py")]
    texts = [file.read_text(encoding="utf-8") for file in files]
    os.utime(files[0])
    assert jobs(snakemake(made[0], *SMOKE)) == {}
    try:
        for file, text in zip(files, texts, strict=True):
            file.write_text(text + "\nMORE = 1\n", encoding="utf-8")
        planned = jobs(snakemake(made[0], *SMOKE, "--dry-run"))
    finally:
        for file, text in zip(files, texts, strict=True):
            file.write_text(text, encoding="utf-8")
    assert planned.keys() & set(EXHIBITS) == {"j-fig2", "theory", "j-table1"}
