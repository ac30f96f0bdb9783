"""Messages are one line, whatever an error says."""

import pytest
import torch

from sibp.core.messages import first_line
from sibp.optim import SIBP


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a\nb"), "a"),
        (ValueError("\n  a  \nb"), "a"),
        (ValueError(), "ValueError"),
        (KeyError(), "KeyError"),
        (torch.OutOfMemoryError(" \n"), "OutOfMemoryError"),
    ],
)
def test_the_first_line_of_an_error(error, line):
    assert first_line(error) == line


def test_an_error_without_a_message_is_reported_by_its_type():
    optimizer = SIBP([torch.nn.Parameter(torch.ones(2, 2))], rest=torch.optim.SGD)

    def refuse_once(state):
        optimizer.rest.load_state_dict = lambda state: None
        raise RuntimeError

    optimizer.rest.load_state_dict = refuse_once
    with pytest.raises(ValueError, match=r"state_dict: is damaged: RuntimeError$"):
        optimizer.load_state_dict(optimizer.state_dict())
