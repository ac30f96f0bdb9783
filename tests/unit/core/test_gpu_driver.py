"""Whether a driver lists a GPU."""

from sibp.core import gpu_driver


def test_a_driver_that_never_answers_is_no_gpu_and_one_line(tmp_path, monkeypatch, capsys):
    stub = tmp_path / "nvidia-smi"
    stub.write_text("#!/bin/sh\nexec /bin/sleep 5\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpu_driver, "SECONDS", 0.1)
    assert not gpu_driver.lists_a_gpu()
    assert capsys.readouterr().err == "sibp: nvidia-smi has not answered in 0.1 s: going on with the CPU\n"
