"""The workflow's scripts on small made-up runs."""

from pathlib import Path

import pandas as pd
import yaml

from sibp.results import records
from tests.unit.tiny import as_run, long_table
from tools import closing_message
from workflow.scripts import choose, gallery, provenance, typeset

ROOT = Path(__file__).parents[2]


def record(label: str = "sgd", **more: object) -> dict:
    grid = {"eta": [1, 0.1]}
    return {
        "exhibit": "x",
        "method": label,
        "scale": "smoke",
        "seeds": [0, 1],
        "training": {"epochs": 1},
        "settings": {"methods": {label: {"grid": grid}}, "data": {"train": 300}},
        "device": "a CPU",
        "device_kind": "cpu",
        "threads": 1,
        "members": [{}, {}],
        "diverged": [{"member": 1, "step": 3}],
        "seconds": {"total": 61.5, "train": 60.25},
        "peak_memory_bytes": 3 * 2**20,
        "git": None,
        "versions": {"sibp": "0", "python": "3", "torch": "2", "cuda": None},
        "started": "2026-01-01T00:00:00+00:00",
    } | more


# --- choose ---------------------------------------------------------------------------------------------------------------------


def search(folder: Path, accuracies: dict[tuple[float, int], list[float | None]]) -> Path:
    records.write(folder / "sgd.parquet", as_run(long_table(accuracies), record()))
    return folder


def test_a_search_takes_the_best_last_mean_over_the_seeds(tmp_path):
    folder = search(tmp_path, {(1, 0): [0.9, 0.5], (1, 1): [0.9, 0.7], (0.1, 0): [0.1, 0.65], (0.1, 1): [0.1, 0.65]})
    choice = choose.choose(folder)
    assert choice["chosen"] == {"sgd": {"eta": 0.1}}
    assert choice["tried"] == {"sgd": [{"eta": 0.1, "accuracy": 0.65}, {"eta": 1.0, "accuracy": 0.6}]}
    assert choice["run"] == {"scale": "smoke", "seeds": [0, 1], "samples": 300, "epochs": 1}


def test_a_search_prefers_a_point_that_never_diverged_and_on_a_tie_the_lower_loss(tmp_path):
    some_diverged = search(tmp_path, {(1, 0): [0.9], (1, 1): [None], (0.1, 0): [0.3], (0.1, 1): [0.3]})
    assert choose.choose(some_diverged)["chosen"]["sgd"] == {"eta": 0.1}
    tie = search(tmp_path, {(1, 0): [0.5], (0.1, 0): [0.5]})
    assert choose.choose(tie)["chosen"]["sgd"] == {"eta": 0.1}


# --- provenance, where, gallery -------------------------------------------------------------------------------------------------


def test_provenance_says_what_a_job_was_and_cost():
    row = provenance.row(record(git={"commit": "abc", "dirty": True}))
    assert (row["members"], row["diverged"], row["train_seconds"], row["total_seconds"]) == (2, 1, 60.25, 61.5)
    assert (row["peak_memory_megabytes"], row["commit"], row["dirty"]) == (3, "abc", True)
    assert provenance.row(record())["commit"] is None


def test_the_closing_lines_name_scale_cost_and_every_place():
    jobs = pd.DataFrame([provenance.row(record()), provenance.row(record("sibp"))])
    told = closing_message.message(Path("out"), jobs)
    assert "Scale: smoke (reduced" in told and "1 experiments, 4 networks trained in 2 min on a CPU" in told
    assert all(place in told for place in ("out/paper/report.pdf", "out/figures", "out/paper/tables", "out/results/summary"))
    assert "reduced" not in closing_message.message(Path("out"), jobs.assign(scale="full"))


def test_the_gallery_shows_pictures_and_tables_and_its_links_lead_to_them(tmp_path):
    tables = tmp_path / "paper/tables"
    tables.mkdir(parents=True)
    for name in ("j-fig9", "j-table9"):
        (tables / f"{name}.md").write_text(f"| numbers of {name} |\n")
    facts = {"title": "A title", "paper": "J, Figure 9", "caption": "A caption.", "alt": "What it shows."}
    shown = [{"id": "j-fig9", "figure": True, **facts}, {"id": "j-table9", "figure": False, **facts}]
    page = gallery.page(shown, tables, tmp_path / "figures/README.md")
    assert page.count("![") == 1 and "![What it shows.](j-fig9.png)" in page
    assert "numbers of j-fig9" in page and "numbers of j-table9" in page
    assert "(../paper/tables)" in page


# --- the searches ---------------------------------------------------------------------------------------------------------------


def test_the_chosen_settings_are_what_the_searches_ask_for():
    for name, search_result in (yaml.safe_load((ROOT / "workflow/selection/chosen.yaml").read_text()) or {}).items():
        methods = yaml.safe_load((ROOT / f"workflow/selection/{name}.yaml").read_text())["methods"]
        assert search_result["chosen"].keys() == methods.keys(), name
        for label, choice in search_result["chosen"].items():
            grid = methods[label]["grid"]
            assert all(value in [float(x) for x in grid[option]] for option, value in choice.items()), (name, label)


def test_the_report_takes_the_tables_of_a_page_with_their_titles():
    page = "# Page\nWords.\n\n## First\n| a | b |\n| --- | --- |\n| 1 | x, `y` |\n| - | 2 |\nMore.\n\n## Second\n| c |\n| --- |\n| 3 |\n"
    first, second = typeset.sections(page)
    assert first == {"title": "First", "head": ["a", "b"], "rows": [["1", "x, `y`"], ["-", "2"]]}
    assert second["rows"] == [["3"]]


def test_every_row_of_the_deviations_has_all_its_cells():
    found = typeset.sections((ROOT / "docs/deviations.md").read_text(encoding="utf-8"))
    assert len(found) > 3 and all(len(row) == len(part["head"]) == 5 for part in found for row in part["rows"])
