"""What Snakemake would do: every target at every scale, one exhibit alone, and what it says of bad settings."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import EXHIBITS, EXPERIMENTS, ROOT, jobs, snakemake

WORKFLOW = ROOT / "workflow"
SEARCHES = [
    yaml.safe_load(file.read_text(encoding="utf-8")) for file in (WORKFLOW / "selection").glob("*.yaml") if file.stem != "chosen"
]
PAPERS = yaml.safe_load((WORKFLOW / "papers.yaml").read_text(encoding="utf-8"))
REAL = {"mnist", "fashion-mnist", "cifar10"}


def sources(exhibit: str) -> list[str]:
    """Return the experiments with runs that an exhibit is drawn from."""
    named = EXPERIMENTS[exhibit].get("runs", exhibit)
    return [name for name in ([named] if isinstance(named, str) else named) if EXPERIMENTS[name].get("methods")]


def labels(names: set[str]) -> int:
    return sum(len(EXPERIMENTS[name]["methods"]) for name in names)


TRAINED = {name for exhibit in EXHIBITS for name in sources(exhibit)}
SEARCHED = sum(len(search["methods"]) for search in SEARCHES)


def plan(repository: Path, *words: str) -> dict[str, int]:
    return jobs(snakemake(repository, *words, "--dry-run", "--quiet", "rules"))


def training(planned: dict[str, int]) -> int:
    """Return how many training jobs are planned."""
    return sum(count for name, count in planned.items() if name.startswith("train"))


@pytest.mark.parametrize("scale", sorted(file.stem for file in (WORKFLOW / "scales").glob("*.yaml")))
def test_every_target_resolves_at_every_scale(repository, scale):
    planned = plan(repository, "all", "notebooks", "selection", "--config", f"scale={scale}", "root=out")
    by_label = scale in ("full", "cpu")
    assert training(planned) == (labels(TRAINED) + SEARCHED if by_label else len(TRAINED) + len(SEARCHES))
    assert planned["summary"] == len(TRAINED)
    assert {name: planned.get(name) for name in EXHIBITS} == dict.fromkeys(EXHIBITS, 1)
    assert planned["notebook"] == len(EXHIBITS)
    assert {planned[name] for name in ("report", "gallery", "provenance", "claims", "selection")} == {1}
    used = {EXPERIMENTS[name]["data"]["name"] for name in TRAINED} | {search["data"]["name"] for search in SEARCHES}
    assert planned.get("data", 0) == (0 if scale == "smoke" else len(used & REAL))


def test_the_page_of_costs_counts_every_job_and_a_user_may_say_what_one_process_trains(repository):
    words = ("out/results/provenance.csv", "--config", "root=out")
    assert training(plan(repository, *words, "scale=full")) == labels(TRAINED)
    assert training(plan(repository, *words, "scale=smoke", "job=label")) == labels(TRAINED)
    assert training(plan(repository, *words, "scale=full", "job=experiment")) == len(TRAINED)


def test_a_rule_s_inputs_are_all_that_its_script_runs(repository):
    said = snakemake(repository, "--dry-run", "--config", "scale=smoke", "root=out")
    read = {rule: set(files.split(", ")) for rule, files in re.findall(r"rule ([a-z0-9-]+):\n    input: (.+)\n", said)}
    assert read["claims"] >= {f"workflow/{name}.py" for name in ("scripts/claims", "scripts/wording", "figures/style")}
    assert read["claims"] >= {"workflow/papers.yaml", "workflow/experiments/j-fig4.yaml", "sibp/results/quantities.py"}
    assert read["x-search"] >= {f"workflow/{name}.py" for name in ("scripts/draw", "notebooks/x-search", "figures/searches")}
    assert read["gallery"] >= {"out/paper/tables/j-fig2.md", "workflow/scripts/gallery.py"}
    assert "workflow/figures/style.py" not in read["provenance"] | read["summary"]


def test_timed_jobs_come_last_and_have_all_cores(repository):
    files = [f"out/results/runs/{name}/sgd.parquet" for name in ("x-fair-mnist", "j-table2")]
    said = snakemake(repository, "--dry-run", *files, "--config", "scale=full", "root=out")
    (timed,) = re.findall(r"rule train_timed:\n(?: +.*\n)+", said)
    assert "threads: 2" in timed and "priority: 1" in timed
    (other,) = re.findall(r"rule train:\n(?: +.*\n)+", said)
    assert "threads" not in other and "priority: 2" in other


def test_the_page_of_exhibits_lists_every_target_with_its_title():
    page = (ROOT / "docs/exhibits.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([a-z0-9-]+)` \| [^|]+ \| ([^|]+) \|", page, flags=re.MULTILINE))
    assert listed == {name: EXPERIMENTS[name]["title"] for name in EXHIBITS}
    papers = {"j-table": 2, "j-fig": 12, "a-table": 1, "a-fig": 4, "i-table": 1, "i-fig": 2, "p-table": 1, "p-fig": 2}
    assert {kind: sum(name.startswith(kind) for name in listed) for kind in papers} == papers  # all that the papers have


def test_one_exhibit_alone_brings_only_what_it_needs(repository):
    planned = plan(repository, "i-table1", "--config", "scale=laptop")
    needed = {"data": 1, "train_a-table1": 1, "summary": 1, "i-table1": 1}
    assert planned == needed


def test_the_commands_that_the_readme_prints_make_what_they_name(repository):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [words.split() for words in re.findall(r"^\.venv/bin/snakemake (--cores [^#\n]+)", text, flags=re.MULTILINE)]
    assert len(commands) == 2
    for words in commands:
        planned = plan(repository, *words)
        assert planned.get(words[2]) == 1 and training(planned) > 0


def test_the_gpu_takes_one_job_at_a_time_unless_told_otherwise(repository):
    said = snakemake(repository, "--dry-run", "j-table2", "--config", "device=cuda", "scale=full")
    assert "gpu=1" in said
    assert yaml.safe_load((ROOT / "profiles/default/profile.yaml").read_text())["resources"] == {"gpu": 1}


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        (
            "scale=lapto",
            "scale: got 'lapto', need auto, cpu, full, laptop, smoke or the path of a scale file (.yaml); did you mean ",
        ),
        ("scal=laptop", "config: got 'scal', need scale, device, root or job; did you mean 'scale'?"),
    ],
)
def test_a_bad_setting_gets_one_line(repository, setting, line):
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", "--config", setting]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 1
    assert any(said.startswith(line) for said in (done.stdout + done.stderr).splitlines())


@pytest.mark.parametrize("exhibit", [name for name in EXHIBITS if "paper" in EXPERIMENTS[name]])
def test_every_exhibit_has_the_papers_values(exhibit):
    assert exhibit in PAPERS


def test_a_notebook_is_there_for_each_exhibit_that_computes_and_for_no_other():
    notebooks = {file.stem for file in (WORKFLOW / "notebooks").glob("*.py")}
    assert notebooks == {name for name in EXHIBITS if "notebook" in EXPERIMENTS[name]}


def test_nothing_is_left_over():
    """Every paper's entry and scale's entry belongs to an experiment, every claim to an exhibit's target."""
    searches = {search["id"] for search in SEARCHES}
    scaled = {
        name for file in (WORKFLOW / "scales").glob("*.yaml") for name in yaml.safe_load(file.read_text()).get("experiments", {})
    }
    assert PAPERS.keys() - EXPERIMENTS.keys() == set()
    assert scaled - EXPERIMENTS.keys() - searches == set()
