"""Set-up: what users' shells, file systems and pip settings may look like; stand-ins play Python and uv, so nothing is installed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """#!/bin/sh
case "$*" in *"config list"*) cat "$SETTINGS" ;; esac
"""
UV = """#!/bin/sh
env > "$SAID"
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout of the files that set-up needs, with an environment of stand-ins."""
    folder = tmp_path / "a checkout"
    (folder / "envs").mkdir(parents=True)
    shutil.copy(ROOT / "envs/setup.sh", folder / "envs")
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "workflow/logger").mkdir(parents=True)
    for name in ("envs/requirements.lock", "pyproject.toml", "workflow/logger/pyproject.toml"):
        (folder / name).touch()
    environment(folder)
    return folder


def environment(folder):
    for name, text in (("python", PYTHON), ("uv", UV)):
        program = folder / ".venv/bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)


def run(folder, *words, settings="", **variables):
    """Run a command in a checkout; return what it prints and the environment that uv got last."""
    said = folder.parent / "said"
    said.write_text("")
    (folder.parent / "settings").write_text(settings)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "SSL_", "MAKE", "ALL_"))}
    plain |= {"SAID": str(said), "SETTINGS": str(folder.parent / "settings")}
    done = subprocess.run(words or ("sh", "envs/setup.sh"), cwd=folder, env=plain | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, dict(line.split("=", 1) for line in said.read_text().splitlines() if "=" in line)


@pytest.mark.parametrize("variable", ["CDPATH", "PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "UV_SYSTEM_PYTHON"])
def test_folders_of_the_user_s_shell_lead_nowhere(checkout, variable):
    other = checkout.parent / "other"
    environment(other)
    said, seen = run(checkout, **{variable: f".:{other}"})
    assert said.endswith("setup: done\n")
    assert variable not in seen and seen["PIP_USER"] == "0"
    assert (checkout / ".venv/.ready").read_text() == f"{checkout}\n"


def test_pip_s_sources_are_handed_on_to_uv(checkout):
    settings = (
        "global.index-url='https://one.example/simple'\n"
        "global.extra-index-url='\\nhttps://two.example/simple\\nhttps://three.example/simple'\n"
        "install.find-links='/wheels /more'\n"
        "global.find-links='/not these'\n"
        ":env:.cert='/etc/ours.pem'\n"
        "global.cert='/etc/theirs.pem'\n"
        "global.trusted-host='one.example'\n"
    )
    _, seen = run(checkout, settings=settings)
    wanted = {
        "UV_DEFAULT_INDEX": "https://one.example/simple",
        "UV_INDEX": "https://two.example/simple https://three.example/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "SSL_CERT_FILE": "/etc/ours.pem",
        "UV_INSECURE_HOST": "one.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert {name: seen.get(name) for name in wanted} == wanted
    assert run(checkout, settings=settings, UV_DEFAULT_INDEX="mine")[1]["UV_DEFAULT_INDEX"] == "mine"
    assert "UV_INDEX" not in run(checkout)[1]


def test_pip_tells_its_settings_as_the_script_reads_them(tmp_path):
    environment = {**os.environ, "PIP_FIND_LINKS": "/wheels /more", "PIP_CERT": "/etc/ours.pem"}
    command = [sys.executable, "-m", "pip", "config", "list"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {":env:.find-links='/wheels /more'", ":env:.cert='/etc/ours.pem'"} <= set(said)


def test_an_environment_that_belongs_elsewhere_is_made_anew(checkout, tmp_path):
    run(checkout)
    copy = tmp_path / "copy"
    shutil.copytree(checkout, copy)
    fresh = tmp_path / "python3"
    fresh.write_text('#!/bin/sh\ncase "$*" in *venv*) cp -r "$FRESH" .venv ;; esac\n')
    fresh.chmod(0o755)
    (copy / ".venv/stale").touch()
    said, _ = run(copy, PYTHON=str(fresh), FRESH=str(checkout / ".venv"))
    assert f"setup: .venv belongs to {checkout}, making it anew\n" in said
    assert not (copy / ".venv/stale").exists()
    assert (copy / ".venv/.ready").read_text() == f"{copy}\n"
    assert (checkout / ".venv/.ready").read_text() == f"{checkout}\n"


def test_make_notices_a_checkout_that_was_moved_or_copied(checkout):
    def planned():
        return run(checkout, "make", "-n", "setup")[0]

    assert "sh envs/setup.sh" in planned()
    run(checkout)
    assert "sh envs/setup.sh" not in planned()
    (checkout / ".venv/.ready").write_text("/somewhere/else\n")
    assert "sh envs/setup.sh" in planned()


def test_make_hides_a_module_system_s_packages(checkout):
    with (checkout / "Makefile").open("a") as file:
        file.write("\nshown:\n\t@env\n")
    assert "PYTHONPATH" not in run(checkout, "make", "shown", PYTHONPATH="/opt/modules")[0]


def test_clean_removes_all_that_the_rules_write_and_nothing_else(checkout):
    patterns = [file.read_text(encoding="utf-8") for file in (ROOT / "workflow/rules").glob("*.smk")]
    written = {
        checkout / f"{top}/{rest}" for text in patterns for top, rest in re.findall(r'"<(results|figures|paper|logs)>/(.+?)"', text)
    }
    stays = {
        checkout / name
        for name in ("paper/report.typ", "figures/README.md", "results/reference/claims.json", "results/campaign/a.parquet")
    }
    assert len(written) > 25
    for file in written | stays:
        (file if not file.suffix else file.parent).mkdir(parents=True, exist_ok=True)
        if file.suffix:
            file.touch()
    run(checkout, "make", "clean")
    assert not [file for file in written if file.exists()]
    assert all(file.exists() for file in stays)


def test_without_a_home_folder_uv_s_cache_is_in_the_environment(checkout):
    _, seen = run(checkout, "env", "-u", "HOME", "-u", "XDG_CACHE_HOME", "sh", "envs/setup.sh")
    assert seen["XDG_CACHE_HOME"] == str(checkout / ".venv/cache")
    (file := checkout.parent / "file").touch()
    _, seen = run(checkout, "env", "-u", "XDG_CACHE_HOME", "sh", "envs/setup.sh", HOME=str(file))
    assert seen["XDG_CACHE_HOME"] == str(checkout / ".venv/cache")


def test_a_checkout_that_cannot_be_written_gets_one_line(checkout):
    shutil.rmtree(checkout / ".venv")
    (checkout / ".venv").touch()  # as on a read-only disk, and also for root: no such folder can be made
    done = subprocess.run(["sh", "envs/setup.sh"], cwd=checkout, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"setup: .venv in {checkout} cannot be written; work in a clone: git clone ")
    assert done.stderr.count("\n") == 1


def test_lines_end_in_lf_whatever_git_is_told(tmp_path):
    plain = tmp_path / "plain"
    (plain / "envs").mkdir(parents=True)
    for name in (".gitattributes", "Makefile", "envs/setup.sh"):
        shutil.copy(ROOT / name, plain / name)

    def git(*words, folder=plain):
        own = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "core.autocrlf=true", "-c", "core.eol=crlf")
        subprocess.run(["git", *own, *words], cwd=folder, check=True, capture_output=True)

    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "all")
    git("clone", "-q", "-c", "core.autocrlf=true", "-c", "core.eol=crlf", str(plain), "clone", folder=tmp_path)
    assert b"\r" not in (tmp_path / "clone/Makefile").read_bytes() + (tmp_path / "clone/envs/setup.sh").read_bytes()


def test_an_environment_that_cannot_be_written_is_used_as_it_is(checkout):
    run(checkout)
    (checkout / ".venv/.ready").write_text("/somewhere/else\n")
    folder = checkout / ".venv"
    script = (checkout / "envs/setup.sh").read_text()
    assert '[ ! -w "$folder" ]' in script
    (checkout / "envs/setup.sh").write_text(script.replace('[ ! -w "$folder" ]', "true"))  # root may write everywhere
    done = subprocess.run(["sh", "envs/setup.sh"], cwd=checkout, env=os.environ | {"SETTINGS": ""}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"setup: .venv in {checkout} cannot be written, so it is taken as it is\n"
    assert folder.is_dir()
