"""Options take what is in their bounds, in their own types, and say in one line what is not."""

import re
from dataclasses import asdict, replace
from typing import Literal

import numpy as np
import pytest
import torch

from sibp.core.options import Count, NonNegative, OptionError, Options, Positive, Share, describe


class Tried(Options):
    eta: Positive = 0.1
    steps: Count = 5
    l1: NonNegative = 0.0
    share: Share = 0.0
    flag: bool = False
    word: Literal["cg", "exact"] = "cg"

    @classmethod
    def defaults_for(cls, given):
        return {"share": 0.5} if given.get("flag") else {}

    def check(self):
        if self.word == "exact" and self.flag:
            raise OptionError("flag: got True, need word cg")


def test_values_have_the_option_s_type_and_the_rest_are_defaults():
    tried = Tried(eta=1, l1=torch.tensor(2.0), steps=torch.tensor(3))
    assert asdict(tried) == {"eta": 1.0, "steps": 3, "l1": 2.0, "share": 0.0, "flag": False, "word": "cg"}
    assert [type(value) for value in vars(tried).values()] == [float, int, float, float, bool, str]
    assert Tried(flag=True).share == 0.5
    assert replace(tried, steps=4) == Tried(eta=1, l1=2, steps=4)
    assert Tried(eta=np.ones(1), steps=np.int64(4), flag=np.True_) == Tried(eta=1.0, steps=4, flag=True)
    assert hash(Tried()) == hash(Tried(eta=0.1))
    assert describe(Tried)["word"].choices == ("cg", "exact")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"eta": 0}, "eta: got 0, need greater than 0"),
        ({"eta": float("nan")}, "eta: got nan, need a finite number"),
        ({"eta": float("inf")}, "eta: got inf, need a finite number"),
        ({"eta": True}, "eta: got True, need a number"),
        ({"eta": np.True_}, "eta: got np.True_, need a number"),
        ({"eta": torch.tensor(True)}, "eta: got tensor(True), need a number"),
        ({"eta": np.ones(2)}, "eta: got array([1., 1.]), need a number"),
        ({"eta": "0.1"}, "eta: got '0.1', need a number"),
        ({"eta": [1, 2]}, "eta: got [1, 2], need a number"),
        ({"eta": 10**400}, f"eta: got {10**400}, need a number"),
        ({"l1": -1.0}, "l1: got -1.0, need greater than or equal to 0"),
        ({"share": 1}, "share: got 1, need less than 1"),
        ({"steps": 2.0}, "steps: got 2.0, need a whole number"),
        ({"steps": 10_001}, "steps: got 10001, need less than or equal to 10000"),
        ({"flag": 1}, "flag: got 1, need true or false"),
        ({"word": "exakt"}, "word: got 'exakt', need cg or exact; did you mean 'exact'?"),
        ({"word": ["cg"]}, "word: got ['cg'], need cg or exact"),
        ({"etta": 1}, "etta: unknown key, need one of eta, steps, l1, share, flag, word; did you mean 'eta'?"),
        ({"word": "exact", "flag": True}, "flag: got True, need word cg"),
        ({"steps": 0, "eta": -1, "x": 1}, "eta: got -1, need greater than 0 (and 2 more)"),
    ],
)
def test_a_fault_is_one_line(given, line):
    with pytest.raises(OptionError, match=f"^{re.escape(line)}$"):
        Tried(**given)


def test_options_do_not_change():
    with pytest.raises(AttributeError):
        Tried().eta = 2.0


def test_an_option_of_another_kind_is_a_fault_of_the_program():
    class Texts(Options):
        name: str = "x"

    with pytest.raises(TypeError, match=r"Texts\.name: is <class 'str'> with default x, need"):
        describe(Texts)
