"""What a run of the workflow shows: the table before, progress, failures in a line each; all else as Snakemake says it itself."""

import io
import logging
import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from snakemake.profiles import ProfileConfigFileParser
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_logger_plugin_sibp import LogHandler
from snakemake_logger_plugin_sibp.display import Lines, last_accuracy
from snakemake_logger_plugin_sibp.plan import duration, from_facts

from sibp.bench import durations
from tests.workflow.conftest import EXPERIMENTS, ROOT, copy_repository

FACTS = {
    "scale": "laptop",
    "scale_file": "laptop",
    "scales": str(ROOT / "workflow/scales"),
    "device": "cpu",
    "cores": 2,
    "root": ".",
    "log": ".snakemake/log/x.log",
    "ready": 7,
}
DRAW = {"rule": "j-fig2", "wildcards": {}, "is_alone": False}
TRAIN = {
    "rule": "train_timed",
    "wildcards": {"exhibit": "a-fig4", "label": "sgd"},
    "is_alone": True,
    "trains": ("a-fig4.yaml", ["sgd"]),
}
COUNTS = {1: 100.0}  # seconds; alone. The others are 5 s each, beside each other


def planned(jobs: dict | None = None, seconds: dict | None = None):
    plan = from_facts(FACTS | {"jobs": jobs or {1: TRAIN, 2: DRAW, 3: DRAW}})
    plan.seconds = COUNTS if seconds is None else seconds
    return plan


def test_the_table_says_scale_device_jobs_time_disk_and_what_is_done():
    table = dict(planned().table())
    assert table["scale"] == "laptop (reduced)" and table["device"] == "cpu, 2 cores for jobs"
    assert table["jobs"] == "3: 2 draw, compute and write, 1 train"
    assert table["done before"] == "7 jobs whose files are up to date"
    assert table["time"] == "about 2 min (estimated from this machine's speed now)"
    assert re.fullmatch(r"\d+ GiB free in \.", table["disk"])
    assert table["full log"] == ".snakemake/log/x.log"


def test_a_job_that_could_not_be_counted_takes_as_long_as_the_others_and_is_said():
    plan = planned({1: TRAIN, 2: TRAIN})
    assert plan.total == 200 and "; 1 training jobs could not be counted)" in plan.time()


def test_a_plan_without_its_seconds_does_not_guess_them():
    assert "about" not in planned(seconds={}).time()


def test_what_is_left_goes_by_the_plan_at_first_and_by_the_run_later():
    plan = planned()
    assert plan.total == 105
    assert plan.left(0.0, 0.0) == pytest.approx(105)
    assert plan.left(0.5, 52.5) == pytest.approx(52.5)  # as planned
    assert 0.9 * 105 < plan.left(0.5, 105.0) < 105  # half as fast
    assert plan.left(1.0, 105.0) == 0


def test_running_jobs_count_by_their_age_but_never_as_finished():
    plan = planned()
    assert plan.done([], {1: 50.0}) == pytest.approx(50 / 105)
    assert plan.done([], {1: 1e9}) == pytest.approx(95 / 105)
    assert plan.done([1, 2, 3], {}) == 1


@pytest.mark.parametrize(("seconds", "words"), [(7.4, "7 s"), (250, "4 min"), (20000, "5 h 33 min")])
def test_a_time_is_as_exact_as_it_matters(seconds, words):
    assert duration(seconds) == words


def test_the_seconds_of_jobs_follow_the_scale_and_the_number_of_labels():
    file = str(ROOT / "workflow/experiments/j-table2.yaml")
    jobs = {"1": [file, ["sgd"]], "2": [file, ["sgd", "sibp"]]}
    request = {"device": "cuda", "scales": FACTS["scales"], "jobs": jobs}
    full, laptop = (durations.seconds(request | {"scale": scale}) for scale in ("full", "laptop"))
    assert 0 < full["1"] < full["2"] and laptop["2"] < full["2"]
    on_cpu = durations.seconds(request | {"scale": "laptop", "device": "cpu"})
    assert 0 < on_cpu["1"] < on_cpu["2"]


def test_counting_is_a_process_beside_the_run_and_what_it_says_is_taken():
    file = str(ROOT / "workflow/experiments/j-fig3.yaml")
    plan = planned({1: TRAIN | {"trains": (file, [next(iter(EXPERIMENTS["j-fig3"]["methods"]))])}, 2: DRAW}, {})
    plan.count()
    assert plan.time() == "being counted"
    lines = Lines(plan, stream := io.StringIO())
    while plan.counting:  # as the display asks, without waiting
        time.sleep(0.1)
        lines.tick()
    assert plan.is_counted and plan.seconds[1] > 0
    assert "\ntime: about " in f"\n{stream.getvalue()}"


def test_counting_that_fails_stops_nothing():
    plan = planned({1: TRAIN}, {})  # there is no such file
    plan.count()
    assert plan.take_count(seconds=500) and plan.seconds == {}
    assert plan.time().startswith("cannot be counted") and not plan.take_count()


def test_the_last_accuracy_is_that_of_the_logs_last_line(tmp_path):
    log = tmp_path / "x.log"
    log.write_text(
        "x: step 1/9  loss 2  test accuracy 0.1000\nx: step 2/9  loss 1  train accuracy 0.9100  test accuracy 0.9000\n\n"
    )
    assert last_accuracy(str(log)) == "test accuracy 0.9000"
    assert last_accuracy(str(tmp_path / "none.log")) == "" == last_accuracy(None)


def test_no_run_prints_three_hundred_lines_or_one_above_two_hundred_characters(tmp_path, monkeypatch):
    log = tmp_path / "x.log"
    log.write_text("ValueError: " + "x" * 5000)
    stream, count = io.StringIO(), 400
    lines = Lines(planned(dict.fromkeys(range(count), DRAW), {}), stream)
    lines.table()
    now = time.monotonic()
    for number in range(count):
        now += 3600  # every line of progress that may come comes
        monkeypatch.setattr("snakemake_logger_plugin_sibp.display.monotonic", lambda: now)  # noqa: B023
        lines.fail(number, "j-fig2", str(log)) if number % 2 else lines.finished.add(number)
        lines.refresh()
    lines.end()
    printed = stream.getvalue().splitlines()
    assert 150 < len(printed) <= 300 and max(map(len, printed)) <= 200
    assert all("; log: " in line for line in printed if line.startswith("FAILED"))
    assert printed[-1].startswith("200 of 400 jobs done") and "200 failed; full log: " in printed[-1]


def handler(**settings) -> LogHandler:
    usual = {"dryrun": False, "verbose": False, "debug_dag": False, "quiet": set(), "nocolor": True, "stdout": False}
    return LogHandler(SimpleNamespace(**usual | {"printshellcmds": True, "show_failed_logs": True} | settings), None)


def record(text: str, level: int = logging.INFO, **extra) -> logging.LogRecord:
    made = logging.LogRecord("snakemake", level, "", 0, text, None, None)
    made.__dict__.update(extra)
    return made


def test_what_is_held_is_said_where_no_run_is_announced(capfd):
    held = handler()
    held.handle(record("Building DAG of jobs..."))
    assert capfd.readouterr().err == ""
    held.handle(record("MissingInputException: no x", logging.ERROR, event=LogEvent.ERROR, exception="MissingInputException"))
    assert capfd.readouterr().err.split("\n")[:2] == ["Building DAG of jobs...", "MissingInputException: no x"]
    nothing = handler()
    nothing.handle(record("Nothing to be done"))
    nothing.close()
    assert "Nothing to be done" in capfd.readouterr().err


SNAKEFILE = """
onstart:
    for display in workflow.logger_manager.get_log_handlers():
        jobs = {workflow.dag.jobid(job): {"rule": job.rule.name, "wildcards": {}, "is_alone": False} for job in workflow.dag.needrun_jobs()}
        display.begin(%r | {"jobs": jobs})

rule all:
    input: "good", "bad"

rule good:
    output: "good"
    shell: "touch {output}"

rule bad:
    output: "bad"
    log: "logs/bad.log"
    shell: "(echo before; echo 'ValueError: the very fault') > {log}; exit 3"
"""


def test_a_failed_job_gets_one_line_with_its_own_fault_and_its_log(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE % FACTS)
    command = [sys.executable, "-m", "snakemake", "--logger", "sibp", "--cores", "1", "--keep-going"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert lines[0].split() == ["scale", "laptop", "(reduced)"], done.stderr
    failures = [line for line in lines if line.startswith("FAILED")]
    assert len(failures) == 1 and re.fullmatch(
        r"FAILED bad after \d+ s: ValueError: the very fault; log: logs/bad\.log", failures[0]
    )
    assert "At least one job did not complete successfully." in lines
    assert re.match(r"1 of 3 jobs done in .*, 1 failed; full log: ", lines[-1])
    assert "exit 3" not in done.stderr  # the full log has it
    assert "exit 3" in next((tmp_path / ".snakemake/log").glob("*.log")).read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return copy_repository(tmp_path_factory.mktemp("watch"), "j-fig2")


VARYING = r"\[\w{3} \w{3} .*\]|Date: .*|Workflow ID: .*|Command: .*|Using workflow specific profile.*"


@pytest.mark.parametrize(
    "words", [["--dry-run", "j-fig2"], ["--dry-run", "no-such-target"], ["no-such-target"], ["--summary", "j-fig2"], ["--list"]]
)
def test_without_a_run_snakemake_says_what_it_says_without_the_display(folder, tmp_path, words):
    text = (ROOT / "profiles/default/profile.yaml").read_text(encoding="utf-8")
    (tmp_path / "profile.yaml").write_text(re.sub(r"\?if(.|\n)*", "", text), encoding="utf-8")

    def said(profile: str) -> tuple[int, str, str]:
        words_before = ["--cores", "1", "--workflow-profile", profile, "--config", "scale=smoke", "root=out", "--nolock"]
        command = [sys.executable, "-m", "snakemake", *words_before, *words]
        fixed = os.environ | {"PYTHONHASHSEED": "0"}  # Snakemake's reasons list sets
        done = subprocess.run(command, cwd=folder, env=fixed, capture_output=True, text=True)
        return done.returncode, re.sub(VARYING, "", done.stdout), re.sub(VARYING, "", done.stderr)

    assert said("profiles/default") == said(str(tmp_path))


def test_where_the_plugin_is_missing_the_profile_leaves_it_out(monkeypatch):
    def words() -> dict:
        with (ROOT / "profiles/default/profile.yaml").open(encoding="utf-8") as file:
            return ProfileConfigFileParser().parse(file)

    assert words()["logger"] == "sibp"
    monkeypatch.setitem(sys.modules, "snakemake_logger_plugin_sibp", None)
    assert "logger" not in words() and words()["keep-going"]
