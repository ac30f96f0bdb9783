"""What a person sees while a run goes on."""

import io

import torch

from sibp.results import progress
from sibp.results.progress import Clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


def follow(told):
    told.start("tiny sgd", 10)
    told.advance(4, 2.5)
    told.evaluated({"train_loss": 2.0, "test_accuracy": 0.75})
    told.advance(6, 1.25)
    told.finish()


def test_plain_lines_show_steps_loss_and_accuracy():
    stream = io.StringIO()
    follow(progress.Lines(stream, quiet=0))
    first, second, last = stream.getvalue().splitlines()
    assert first.startswith("tiny sgd: step 4/10, ")
    assert first.endswith("s left  loss 2.5")
    assert second == last
    assert last.endswith("loss 1.25  test accuracy 0.7500")


def test_plain_lines_are_few():
    stream = io.StringIO()
    follow(progress.Lines(stream, quiet=1e9))
    assert len(stream.getvalue().splitlines()) == 1


def test_a_terminal_gets_a_bar_with_loss_accuracy_and_time_left():
    stream = Terminal()
    told = progress.for_stream(stream)
    assert isinstance(told, progress.Bar)
    follow(told)
    shown = stream.getvalue()
    assert "tiny sgd" in shown
    assert "10/10" in shown
    assert "test accuracy 0.7500" in shown


def test_a_bar_can_be_used_for_one_label_after_another():
    stream = Terminal()
    told = progress.for_stream(stream)
    follow(told)
    follow(told)
    assert "tiny sgd" in stream.getvalue()


def test_a_clock_adds_up_seconds_by_phase():
    clock = Clock(torch.device("cpu"))
    clock.add("train", 1.5)
    clock.add("train", 2.0)
    with clock("data"):
        pass
    assert clock.seconds["train"] == 3.5
    assert clock.seconds["data"] >= 0
