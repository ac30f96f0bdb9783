"""Several programs in forks of one process behave as if each had been started alone."""

import subprocess
import sys
from pathlib import Path

import pytest

TOGETHER = Path(__file__).parents[2] / "tools/offline_gpu/together.py"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")


@pytest.fixture
def together(tmp_path):
    """Write programs and run them; return the exit code and what was printed."""

    def start(*commands: str, processes: int = 2, **programs: str) -> tuple[int, str]:
        for name, text in programs.items():
            folder = tmp_path / name
            folder.mkdir()
            (folder / "main.py").write_text(text)
            (folder / "helper.py").write_text(f"name = {name!r}\n")
        command = [sys.executable, TOGETHER, "--processes", str(processes), "--imports", "json", *commands]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return start


def test_each_program_gets_its_own_arguments_and_modules(together):
    text = "import sys, helper\nassert __name__ == '__main__'\nprint('I am', helper.name, sys.argv)\n"
    code, said = together("a/main.py x 'y z'", "b/main.py", a=text, b=text)
    assert code == 0
    assert "I am a ['a/main.py', 'x', 'y z']" in said and "I am b ['b/main.py']" in said


def test_the_imports_are_made_once_and_before_the_programs(together):
    code, said = together("a/main.py", "b/main.py", a="import sys\nprint('json' in sys.modules)\n", b="import json\njson.own = 1\n")
    assert (code, said.count("True")) == (0, 1)


def test_a_module_of_the_folder_is_run_by_its_name(together):
    assert together("-m a.main", a="print('as a module')\n")[1].endswith("as a module\n")


def test_every_failure_is_told_with_its_reason_and_the_others_go_on(together):
    programs = {"a": "raise ValueError('wrong')", "b": "exit('no data')", "c": "exit(0)", "d": "print('fine')"}
    code, said = together(*(f"{name}/main.py" for name in programs), **programs)
    assert code == 1
    assert "ValueError: wrong" in said and "no data" in said and "fine" in said
    last = said.splitlines()[-1]
    assert last.startswith("2 of 4 programs failed: ") and "a/main.py" in last and "b/main.py" in last


def test_what_a_program_prints_stays_in_one_piece(together):
    text = "import time\nfor _ in range(3):\n    print({0!r}, flush=True)\n    time.sleep(0.05)\n"
    said = together("a/main.py", "b/main.py", a=text.format("one"), b=text.format("two"))[1]
    assert "one\none\none\n" in said and "two\ntwo\ntwo\n" in said


def test_no_more_programs_run_at_once_than_asked_for(together):
    text = "import os, time\nos.mkdir('busy')\ntime.sleep(0.05)\nos.rmdir('busy')\n"
    code, said = together("a/main.py", "b/main.py", "c/main.py", processes=1, a=text, b=text, c=text)
    assert code == 0, said
