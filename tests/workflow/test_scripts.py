"""The workflow's scripts on small made-up runs."""

import io
import shutil
from pathlib import Path

import pandas as pd
import pikepdf
import pytest
import typst
import yaml
from matplotlib.figure import Figure

from sibp.experiments import specs
from sibp.results import records
from tests.unit.tiny import as_run, long_table
from tools import closing_message
from workflow.figures import papers, searches
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


def test_a_search_keeps_the_types_of_its_options(tmp_path):
    grid = {"cg_steps": [3, 5], "variant": ["newton", "bb"], "eta": [1.0]}
    table = long_table({(1.0, 0): [0.5], (1.0, 1): [0.6], (1.0, 2): [0.9], (1.0, 3): [0.7]})
    table["cg_steps"], table["variant"] = [3, 3, 5, 5], ["newton", "bb"] * 2
    made = record(settings={"methods": {"sgd": {"grid": grid}}, "data": {"train": 300}})
    records.write(tmp_path / "sgd.parquet", as_run(table, made))
    choice = choose.choose(tmp_path)
    assert yaml.safe_load(yaml.safe_dump(choice)) == choice
    assert choice["chosen"]["sgd"] == {"cg_steps": 5, "variant": "newton", "eta": 1.0}
    assert [type(value) for value in choice["chosen"]["sgd"].values()] == [int, str, float]
    assert searches.beyond(choice["tried"]["sgd"], choice["chosen"]["sgd"]) == {"cg_steps": 8}
    assert searches.beyond([{"cg_steps": 1}, {"cg_steps": 3}], {"cg_steps": 1}) == {}


def test_a_label_without_a_grid_is_refused_in_a_line(tmp_path, monkeypatch):
    made = record(settings={"methods": {"sgd": {}}, "data": {"train": 300}})
    records.write(tmp_path / "deep/sgd.parquet", as_run(long_table({(1.0, 0): [0.5]}), made))
    monkeypatch.setattr("sys.argv", ["choose", str(tmp_path / "deep"), "--output", str(tmp_path / "out.yaml")])
    with pytest.raises(SystemExit, match=r"^choose: deep/sgd: grid: got none, need"):
        choose.main()


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
    page = gallery.sections(shown, tables, tmp_path / "figures", tmp_path / "figures/all.md")
    assert page.count("![") == 1 and "![What it shows.](j-fig9.png)" in page
    assert "numbers of j-fig9" in page and "numbers of j-table9" in page
    assert "(../paper/tables/j-fig9.csv)" in page
    assert page.index("numbers of j-table9") < page.index("numbers of j-fig9")  # the papers' order, not the files'
    elsewhere = gallery.sections(shown, tables, tmp_path / "kept", tmp_path / "figures/README.md")
    assert "![What it shows.](../kept/j-fig9.png)" in elsewhere


# --- the searches ---------------------------------------------------------------------------------------------------------------


def test_a_best_point_at_the_edge_of_its_grid_asks_for_the_next_one():
    grid = [{"eta": eta, "lam": lam} for eta in (1.0, 0.3, 0.1) for lam in (10.0, 1.0)]
    assert searches.beyond(grid, {"eta": 0.3, "lam": 10.0}) == {"lam": 100}
    assert searches.beyond(grid, {"eta": 0.1, "lam": 1.0}) == {"eta": 0.033, "lam": 0.1}
    assert searches.beyond([{"eta": 1}], {"eta": 1}) == {}


def test_a_search_counts_the_seeds_that_diverged(tmp_path):
    folder = search(tmp_path, {(1, 0): [0.5], (1, 1): [None], (0.1, 0): [0.3], (0.1, 1): [0.3]})
    assert choose.choose(folder)["tried"]["sgd"] == [{"eta": 0.1, "accuracy": 0.3}, {"eta": 1.0, "accuracy": None, "diverged": 1}]


SEARCHES = [path for path in sorted((ROOT / "workflow/selection").glob("*.yaml")) if path.stem != "chosen"]


@pytest.fixture(scope="module")
def users():
    """Return for each search the experiments that take its choices; `NAME.LABEL` takes those of one label for another network."""
    found = {}
    for file in sorted((ROOT / "workflow/experiments").glob("*.yaml")):
        experiment = specs.load_experiment(file, shallow=True)
        for selected in {experiment.trained.method(label).selected for label in experiment.labels} - {None}:
            found.setdefault(selected, []).append(experiment)
    return found


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_a_search_follows_the_rule(path, users):
    found = specs.load_experiment(path, shallow=True)
    same = users[path.stem]
    borrowing = [user for name, others in users.items() if name.partition(".")[0] == path.stem for user in others]
    assert all(found.data.train >= user.data.train - found.data.validation for user in borrowing)  # all that validation leaves
    assert all(user.network.settings() == found.network.settings() for user in same)
    assert all((user.loss, user.training.batch_size) == (found.loss, found.training.batch_size) for user in same)
    assert found.data.test == 0 and found.training.epochs >= 3 and found.seeds >= 2
    assert found.first_seed >= max(user.first_seed + user.seeds for user in borrowing)
    assert len({len(method.points()) for method in found.methods.values()}) == 1


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


def test_exhibits_stand_by_paper_tables_before_figures_and_by_number():
    names = ["a-fig2", "i-table1", "j-fig10", "j-fig9", "j-table2", "mine", "p-fig2", "theory", "x-why"]
    ordered = ["j-table2", "j-fig9", "j-fig10", "a-fig2", "i-table1", "p-fig2", "mine", "theory", "x-why"]
    assert sorted(names, key=papers.place) == ordered


def pictures(report):
    """Yield the lower left and the upper right corner of each picture of a report, as shares of its page."""
    with pikepdf.open(report) as document:
        for page in document.pages:
            saved, now = [], pikepdf.Matrix()
            for operands, operator in pikepdf.parse_content_stream(page):
                if str(operator) == "q":
                    saved.append(now)
                elif str(operator) == "Q":
                    now = saved.pop()
                elif str(operator) == "cm":
                    now = pikepdf.Matrix(*map(float, operands)) @ now
                elif str(operator) == "Do":
                    box, (_, _, wide, tall) = page.Resources.XObject[str(operands[0])].BBox, map(float, page.MediaBox)
                    for x, y in (now.transform(corner) for corner in (box[:2], box[2:])):
                        yield x / wide, y / tall


@pytest.mark.parametrize("height", [1, 9, 30])
def test_a_picture_of_any_height_is_whole_in_the_report(height, tmp_path):
    kept, pages = ROOT / "results/reference", tmp_path / "paper/exhibits"
    pages.mkdir(parents=True)
    (tmp_path / "paper/figures").mkdir()
    shutil.copyfile(kept / "exhibits/j-fig4.json", pages / "j-fig4.json")
    for name in ("claims.json", "provenance.csv"):
        shutil.copyfile(kept / name, tmp_path / name)
    for name in ("paper/report.typ", "docs/deviations.md", "CITATION.cff"):
        shutil.copyfile(ROOT / name, tmp_path / Path(name).name)
    Figure(figsize=(6, height)).savefig(tmp_path / "paper/figures/j-fig4.pdf")
    read = {"claims": "claims.json", "provenance": "provenance.csv", "deviations": "deviations.md", "citation": "CITATION.cff"}
    files = {name: tmp_path / file for name, file in read.items()}
    typeset.typeset(tmp_path / "report.typ", tmp_path / "report.pdf", [pages / "j-fig4.json"], **files)
    (left, low), (right, high) = pictures(tmp_path / "report.pdf")
    assert 0.1 < left < right < 0.9 and 0.05 < low < high < 0.95
    assert right - left > 0.7 or high - low > 0.6


def test_no_picture_of_the_shipped_report_leaves_its_page():
    corners = list(pictures(ROOT / "results/reference/report.pdf"))
    assert len(corners) > 40 and all(0.05 < x < 0.95 and 0.05 < y < 0.95 for x, y in corners)


def test_a_packed_report_is_smaller_and_keeps_its_pages_and_what_a_screen_reader_follows():
    pdf = typst.compile(b"= One\n" + b"- an item\n" * 200 + b"#pagebreak()\n= Two")
    packed = typeset.packed(pdf)
    assert packed == typeset.packed(pdf) and len(packed) < len(pdf) / 2
    with pikepdf.open(io.BytesIO(pdf)) as before, pikepdf.open(io.BytesIO(packed)) as after:
        assert len(after.pages) == len(before.pages)
        assert "/StructTreeRoot" in after.Root and after.Root.keys() == before.Root.keys()
