"""The profiles: a dry run with each, and every word of them an option of Snakemake."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake.profiles import ProfileConfigFileParser

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(importlib.util.find_spec("snakemake_executor_plugin_slurm") is None, reason="needs the plugin for SLURM")
def test_a_dry_run_with_the_profile_of_a_cluster_plans_every_job():
    words = ["snakemake", "-n", "--quiet", "--nolock", "--workflow-profile", "profiles/slurm"]
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("profile", ["default", "slurm"])
def test_every_word_of_a_profile_is_an_option_of_snakemake_or_of_its_plugin(profile):
    with (ROOT / f"profiles/{profile}/profile.yaml").open(encoding="utf-8") as file:
        words = ProfileConfigFileParser().parse(file)
    options = subprocess.run([sys.executable, "-m", "snakemake", "--help"], capture_output=True, text=True, check=True).stdout
    assert [word for word in words if f"--{word}" not in options and not word.startswith(f"{profile}-")] == []


def test_files_of_the_repository_stay_in_the_repository_where_outputs_are_stored_elsewhere():
    """A storage provider takes every input that is not marked as local for one of its own."""
    rules = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "workflow/rules").glob("*.smk"))
    inputs = re.findall(r"^        (?:\w+=)?(f?\"(?:workflow|docs|paper)/.*)", rules, flags=re.MULTILINE)
    assert [line for line in inputs if not line.startswith("f") and "{}" not in line] == []
