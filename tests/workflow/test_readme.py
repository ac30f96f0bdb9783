"""README.md says what is there: its parts that a script writes are up to date, its commands exist, and its six lines run."""

import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image, ImageChops

import sibp
from tools import readme, reference

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, flags=re.MULTILINE))


@pytest.mark.parametrize("page", readme.PAGES)
def test_the_parts_that_a_script_writes_are_in_step_with_the_kept_results(page):
    reference = readme.reference_results(ROOT / "results/reference", ROOT / "workflow/experiments")
    text = (ROOT / page).read_text(encoding="utf-8")
    assert readme.refreshed(page, text, reference) == text, "run `make readme`"


def test_the_table_of_costs_has_the_papers_order():
    table = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| \[.*`snakemake --cores all ([a-z0-9-]+)`", table, flags=re.MULTILINE)
    firsts = list(dict.fromkeys(name.partition("-")[0] for name in named))
    assert firsts == ["j", "a", "i", "p", "theory", "x"] and named.index("j-table2") < named.index("j-fig3") < named.index(
        "j-fig10"
    )


def test_every_make_target_named_in_the_readme_exists():
    named = set(re.findall(r"(?:`|^)make ([a-z][a-z ]*)", TEXT, flags=re.MULTILINE))
    assert {"smoke", "test", "reference readme"} <= {words.strip() for words in named}
    assert {word for words in named for word in words.split()} <= TARGETS


def test_every_exhibit_named_in_a_command_exists():
    named = re.findall(r"snakemake .*?\b([ajipx]-(?:fig|table)\d+|[ajipx]-[a-z]+)\b", TEXT)
    assert named and all((ROOT / f"workflow/experiments/{name}.yaml").is_file() for name in named)


def test_every_link_leads_to_a_file():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if not link.startswith("http")]
    assert "docs/architecture.md" in links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_page_of_the_documentation_is_linked():
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"docs/{page.name}" not in TEXT] == []


@pytest.mark.parametrize("target", ["paper", "smoke", "test", "check", "notebooks", "selection", "reference", "readme", "lock"])
def test_a_make_target_resolves_to_commands(target):
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ".venv/bin/" in done.stdout


def test_make_alone_makes_the_paper():
    plain, named = (["make", "-n"], ["make", "-n", "paper"])
    assert subprocess.check_output(plain, cwd=ROOT) == subprocess.check_output(named, cwd=ROOT)


def test_the_six_lines_train():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    lines = [line for line in code.splitlines() if line and not line.startswith("import")]
    assert len(lines) == 6
    names: dict = {"torch": torch, "sibp": sibp}
    torch.manual_seed(0)
    exec("\n".join(lines[:3]), names)

    def loss() -> float:
        return torch.nn.functional.cross_entropy(names["model"](names["x"]), names["y"]).item()

    before = loss()
    exec("\n".join(lines[3:]), names)
    assert loss() < 0.7 * before


def test_citation_is_complete():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)[1]


# --- what fills the parts ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path):
    """A finished run of one table and one figure, and the experiment files; the figure is drawn from the table's runs."""
    root, experiments = tmp_path / "run", tmp_path / "experiments"
    experiments.mkdir()
    (experiments / "j-table2.yaml").write_text("{id: j-table2, title: Title, methods: {}}")
    (experiments / "i-fig2.yaml").write_text("{id: i-fig2, title: Title, runs: j-table2}")
    for place in ("paper/tables", "paper/exhibits", "figures", "results/summary"):
        (root / place).mkdir(parents=True)
    for name, is_figure in (("j-table2", False), ("i-fig2", True)):
        (root / f"paper/tables/{name}.md").write_text(f"| the table of {name} |\n")
        (root / f"paper/tables/{name}.csv").write_text("a\n1\n")
        page = {
            "id": name,
            "title": f"Title {name}",
            "paper": "J, Table 2",
            "caption": "A caption.",
            "figure": is_figure,
            "alt": "x",
        }
        page["reductions"] = "laptop scale: fewer epochs"
        (root / f"paper/exhibits/{name}.json").write_text(json.dumps(page))
    Image.radial_gradient("L").convert("RGB").save(root / "figures/i-fig2.png")
    (root / "paper/report.pdf").write_bytes(b"PDF")
    (root / "results/summary/j-table2.csv").write_text("mean\n" + "0.5\n" * 100)
    (root / "results/claims.json").write_text(
        '[{"verdict": "reproduced", "size": "papers\'", "question": "depth", "seeds": 3},'
        ' {"verdict": "partly", "size": "smaller", "question": "depth", "seeds": 3}]'
    )
    (root / "paper/claims.md").write_text("# Claims\n")
    job = {"exhibit": "j-table2", "scale": "laptop", "device": "a CPU", "members": 5, "commit": "0123456789", "dirty": False}
    costs = [{"train_seconds": 100.0, "total_seconds": 7000.0}, {"train_seconds": 50.0, "total_seconds": 500.0}]
    pd.DataFrame([job | one for one in costs]).to_csv(root / "results/provenance.csv", index=False)
    return root, experiments, tmp_path / "reference"


def test_a_finished_run_is_kept_whole_and_replaces_the_one_before(finished):
    root, _, to = finished
    (to / "tables").mkdir(parents=True)
    (to / "tables/gone.md").write_text("from before")
    told = reference.keep(root, to)
    kept = {str(file.relative_to(to)) for file in to.rglob("*") if file.is_file()}
    tables = {f"tables/{name}.{form}" for name in ("j-table2", "i-fig2") for form in ("md", "csv")}
    pages = {"exhibits/j-table2.json", "exhibits/i-fig2.json"}
    assert kept == tables | pages | {
        "figures/i-fig2.png",
        "summary/j-table2.csv.gz",
        "report.pdf",
        "provenance.csv",
        "claims.json",
        "claims.md",
    }
    with Image.open(root / "figures/i-fig2.png") as ours, Image.open(to / "figures/i-fig2.png") as theirs:
        assert (ours.size, theirs.mode) == (theirs.size, "P")
        assert ImageChops.difference(ours, theirs.convert("RGB")).getextrema() == ((0, 0),) * 3  # no more than 256 greys
    assert pd.read_csv(to / "summary/j-table2.csv.gz")["mean"].iloc[0] == 0.5
    assert "laptop" in told and "checkout" not in told
    assert [file.name for file in to.parent.iterdir() if file.name.startswith(".")] == []


def test_an_unfinished_or_too_large_run_is_refused_and_changes_nothing(finished, monkeypatch):
    root, _, to = finished
    reference.keep(root, to)
    monkeypatch.setattr(reference, "LIMIT", 100)
    with pytest.raises(SystemExit, match="need at most 0 MB; the largest are"):
        reference.keep(root, to)
    (root / "results/provenance.csv").unlink()
    with pytest.raises(SystemExit, match=r"provenance\.csv is missing"):
        reference.keep(root, to)
    assert (to / "tables/j-table2.md").is_file()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a checkout's business")
def test_git_takes_the_kept_results_and_no_others():
    kept = ["results/reference/figures/a.png", "results/reference/tables/a.md", "results/reference/claims.md"]
    made = [
        "figures/a.png",
        "paper/tables/a.md",
        "paper/claims.md",
        "paper/report.pdf",
        "results/claims.json",
        "logs/a.log",
        ".smoke/a",
    ]
    done = subprocess.run(["git", "check-ignore", *kept, *made], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == made


def test_the_kept_results_stay_below_their_limit():
    assert sum(reference.sizes(ROOT / "results/reference").values()) <= reference.LIMIT


def test_the_readme_shows_pictures_and_verdicts_of_the_kept_results(finished):
    root, experiments, to = finished
    reference.keep(root, to)
    page = "# T\n<!-- speed:begin -->\n<!-- speed:end -->\n<!-- results:begin -->\nformer\n<!-- results:end -->\nkept\n"
    text = readme.refreshed("README.md", page, readme.reference_results(to, experiments))
    assert "former" not in text and "kept" in text
    assert "Scale **laptop**: 1 experiments, 10 networks, 2 h 5 min on a CPU, commit 01234567." in text
    assert "![Title i-fig2](results/reference/figures/i-fig2.png)" in text and "Laptop scale: fewer epochs." in text
    assert "2 claims. 1 at the papers' own size: 1 reproduced." in text and ": 1 partly." in text
    assert "| Does SIBP train deep nets where gradients vanish? | 1 |  |  | 1 |" in text
    assert readme.refreshed("README.md", text, readme.reference_results(to, experiments)) == text


def test_the_speed_table_has_the_ratios_of_the_record_of_costs(tmp_path):
    ratios = {"SIBP, 5 CG steps": (2.346, 9.0), "SIBP, 5 CG steps, engine": (1.5, 3.0), "SGD": (1.0, 2.0)}
    steps = [{"step": name, "ratio": ratio, "best_ratio": best} for name, (ratio, best) in ratios.items()]
    record = {"cases": [{"case": "a-b", "batch": 100, "steps": steps}], "environment": {"processor": {"name": "a CPU"}}}
    file = tmp_path / "costs/x-cost/one-thread.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(record))
    shown = readme.speed(SimpleNamespace(folder=tmp_path)).splitlines()
    assert "| a-b | 2.35 | 1.50 | 3.00 |" in shown and "One thread of a CPU, batches of 100;" in shown[-1]


def test_commits_are_named_or_counted(finished):
    root, experiments, to = finished
    reference.keep(root, to)
    results = readme.reference_results(to, experiments)
    assert results.stamp().endswith("commit 01234567.")
    results.jobs = pd.concat([results.jobs, results.jobs.assign(commit="76543210")])
    assert results.stamp().endswith(", 2 commits.")


def test_the_page_of_results_shows_tables_and_costs_of_the_kept_results(finished):
    root, experiments, to = finished
    reference.keep(root, to)
    page = "<!-- table:begin -->\n<!-- table:end -->\n<!-- cost:begin -->\n<!-- cost:end -->\n"
    text = readme.refreshed("docs/results.md", page, readme.reference_results(to, experiments))
    assert "| the table of j-table2 |" in text
    row = "| [Title i-fig2](../results/reference/tables/i-fig2.md) | J, Table 2 | `snakemake --cores all i-fig2` | 10 | 2 min | 2 h 5 min |"
    assert row in text


def test_without_kept_results_the_pages_say_how_to_make_them(tmp_path):
    assert readme.reference_results(tmp_path, tmp_path) is None
    for name, parts in (("README.md", 2), ("docs/results.md", 2)):
        page = "".join(f"<!-- {part}:begin -->\n<!-- {part}:end -->\n" for part in readme.PAGES[name])
        assert readme.refreshed(name, page, None).count("`make reference readme`") == parts


def test_a_readme_without_markers_is_refused():
    with pytest.raises(SystemExit, match="speed:begin"):
        readme.refreshed("README.md", "# nothing", None)


def test_measurements_take_the_place_of_those_that_are_kept(tmp_path):
    for kind in ("costs", "fits"):
        for place, number in (("new", 2), ("kept", 1)):
            (tmp_path / place / kind / "x-cost").mkdir(parents=True)
            (tmp_path / place / kind / "x-cost" / "one.json").write_text(f'{{"a": {number}}}')
    taken = reference.take_measured(tmp_path / "new", tmp_path / "kept")
    assert [str(file.relative_to(tmp_path / "new")) for file in taken] == ["costs/x-cost/one.json", "fits/x-cost/one.json"]
    assert {(tmp_path / "kept" / file.relative_to(tmp_path / "new")).read_text() for file in taken} == {'{"a":2}\n'}
