"""What the notebooks share: tables in three forms, picking settings, and settling the papers' contradiction."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests.unit.tiny import experiment
from workflow.figures import hyperparameters, layout, plain, step_size_table, style
from workflow.figures.exhibit import Exhibit
from workflow.figures.layout import MISSING, Table, Text, cell
from workflow.scripts import draw, notebook

# --- tables -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def table():
    return Table(
        head=["", "η & λ"],
        caption="50 % of x_1",
        groups=[[[cell("a|b"), (Text("0.9", bold=True), Text(" / "), Text(MISSING))]], [[cell("± #1"), cell("2 $")]]],
    )


def test_markdown_has_the_caption_above_and_bars_in_cells_escaped(table):
    assert table.markdown() == f"50 % of x_1\n\n|  | η & λ |\n| --- | --- |\n| a\\|b | **0.9** / {MISSING} |\n| ± #1 | 2 $ |\n"


def test_latex_has_booktabs_rules_between_groups_and_every_special_character_escaped(table):
    lines = table.latex("j-table2").splitlines()
    assert r"\begin{tabular}{lc}" in lines
    assert r" & $\eta$ \& $\lambda$ \\" in lines
    assert r"a|b & \textbf{0.9} / -- \\" in lines
    assert r"$\pm$ \#1 & 2 \$ \\" in lines
    assert r"\caption{50 \% of x\_1}" in lines and r"\label{tab:j-table2}" in lines
    assert lines.index(r"\midrule") < lines.index(r"a|b & \textbf{0.9} / -- \\") < len(lines) - 1 - lines[::-1].index(r"\midrule")


def test_the_structure_for_the_report_keeps_what_is_bold(table):
    assert table.structure()["groups"][0][0][1] == [["0.9", True], [" / ", False], [MISSING, False]]


def test_numbers_are_printed_as_the_papers_print_them():
    assert [layout.decimal(value) for value in (0.98264, 1.0, None, np.nan)] == ["0.9826", "1.0000", MISSING, MISSING]
    assert [layout.number(value) for value in (100.0, 0.1, 1e-5)] == ["100", "0.1", "1e-05"]


# --- picking ----------------------------------------------------------------------------------------------------------------------


def final(*rows: tuple[str, float, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["method", "eta", "diverged", "test_mean"]).assign(algorithm=lambda frame: frame["method"])


def test_the_best_mean_wins_among_the_settings_that_diverged_least():
    rows = final(("sgd", 1, 1, 0.99), ("sgd", 0.1, 0, 0.9), ("sgd", 0.01, 0, 0.8), ("sibp", 1, 0, 1.0))
    assert hyperparameters.choose(rows, "sgd", "test_mean")["eta"] == 0.1
    assert hyperparameters.choose(rows, "sgd", "test_mean", largest=False)["eta"] == 0.01


def test_a_setting_without_a_mean_is_chosen_last():
    assert hyperparameters.choose(final(("sgd", 1, 2, np.nan), ("sgd", 0.1, 2, 0.1)), "sgd", "test_mean")["eta"] == 0.1


def test_rows_are_selected_by_method_and_values_whatever_their_label():
    rows = final(("sgd", 0.1, 0, 0.9), ("sgd", 1, 0, 0.8)).assign(method="some-label")
    assert hyperparameters.select(rows, "sgd", eta=0.1)["test_mean"].tolist() == [0.9]
    assert hyperparameters.select(rows, "sgd", lam=0.1).empty and hyperparameters.select(rows, "adam").empty


def test_labels_of_armijos_rule_beside_main_ones_are_selected_apart():
    rows = final(("sibp", 0.1, 0, 0.9), ("sibp", 0.1, 0, 0.8)).assign(method=["sibp", "sibp-armijo"])
    assert hyperparameters.select(rows, "sibp")["test_mean"].tolist() == [0.9]
    assert hyperparameters.select(rows, "sibp", second=True)["test_mean"].tolist() == [0.8]


def test_the_members_of_a_setting_are_found_also_where_an_option_is_not_the_methods():
    runs = pd.DataFrame({"method": ["sgd"] * 3, "eta": [0.1, 0.1, 1], "lam": [np.nan] * 3, "member": [0, 1, 2]})
    assert hyperparameters.members(runs, runs.iloc[0], ["eta", "lam"])["member"].tolist() == [0, 1]


def test_a_band_leaves_diverged_seeds_out():
    rows = pd.DataFrame(
        {"step": [1, 1, 1], "epoch": [0.5] * 3, "loss": [1.0, 3.0, 100.0], "status": ["running", "running", "diverged"]}
    )
    assert hyperparameters.band(rows, "epoch", "loss").to_dict("index") == {0.5: {"mean": 2.0, "min": 1.0, "max": 3.0}}


def timed(member: int, seconds: list[float], accuracies: list[float], status: str = "done") -> pd.DataFrame:
    columns = {
        "member": member,
        "step": np.arange(len(seconds)),
        "seconds": seconds,
        "train_accuracy": accuracies,
        "status": "running",
    }
    return pd.DataFrame(columns).assign(status=["running"] * (len(seconds) - 1) + [status])


def test_against_seconds_seeds_are_compared_at_the_same_moments_and_as_long_as_all_run():
    slow, fast = timed(0, [0, 10, 20], [0.1, 0.3, 0.5]), timed(1, [0, 6, 12, 18, 24], [0.1, 0.7, 0.8, 0.9, 1.0])
    band = hyperparameters.band(pd.concat([slow, fast]), "seconds", "train_accuracy")
    assert band.index.tolist() == [0, 8, 16, 18, 20]  # the mean moment of each step that both or one has, up to the slow one's end
    assert band.loc[20, "min"] == 0.5 and band.loc[20, "max"] == pytest.approx(0.9 + 0.1 / 3)
    assert band.loc[8, "min"] == pytest.approx(0.26) and band.loc[8, "mean"] == pytest.approx((0.26 + 0.7 + 0.1 / 3) / 2)


def test_a_seed_that_diverges_leaves_the_band_against_seconds_without_ending_it():
    lasting, lost = timed(0, [0, 10, 20], [0.1, 0.3, 0.5]), timed(1, [0, 10, 12], [0.1, 0.1, np.nan], "diverged")
    band = hyperparameters.band(pd.concat([lasting, lost]), "seconds", "train_accuracy")
    assert band["mean"].to_dict() == {0: 0.1, 10: 0.2, 20: 0.5}


def test_what_is_smaller_in_one_of_several_experiments_carries_its_name():
    exhibit = Exhibit("x-fair")
    for source, train in zip(exhibit.sources, (100, 200, 45000, 45000), strict=True):
        settings = source.experiment.model_dump(mode="json", exclude_none=True)
        settings |= {"data": settings["data"] | {"train": train}, "seeds": 1}
        label = next(iter(settings["methods"]))
        record = {"scale": "tiny", "settings": settings, "seeds": [0]}
        source.__dict__["records"] = {label: record}  # in place of the files
    mnist, deep = "x-fair-mnist 100 of 55000 training samples", "x-fair-deep 200 of 55000 training samples"
    assert exhibit.reductions == f"tiny scale: 1 of 3 seeds; {mnist}; {deep}"


def with_records(identifier: str, **scales: str) -> Exhibit:
    """Return an exhibit whose labels ran at scales, those of `small` on 100 images with one seed."""
    exhibit = Exhibit(identifier)
    records = {}
    for label in exhibit.experiment.methods:
        settings = exhibit.experiment.model_dump(mode="json", exclude_none=True)
        if scales.get(label, "small") == "small":
            settings |= {"data": settings["data"] | {"train": 100}, "seeds": 1}
        records[label] = {"scale": scales.get(label, "small"), "settings": settings, "seeds": [0], "device": "CPU", "threads": 1}
    exhibit.source.__dict__["records"] = records  # in place of the files
    return exhibit


def test_labels_are_called_by_their_method_and_told_apart_where_they_share_it():
    made = experiment(methods={"sgd": {}, "adam-slow": {"method": "adam"}, "sgd-full": {"method": "sgd"}, "x": {"method": "sgd"}})
    assert style.names(made, ["sgd", "adam-slow", "sgd"]) == {"sgd": "SGD", "adam-slow": "Adam"}
    assert style.names(made, ["sgd-full", "x"]) == {"sgd-full": "SGD (full)", "x": "SGD (x)"}
    assert style.names(made, ["sgd", "sgd-full"]) == {"sgd": "SGD", "sgd-full": "SGD (full)"}


def test_a_label_is_called_as_its_figure_calls_it():
    figure = {"caption": "c", "panels": ["train_loss"], "table": ["train_loss"], "lines": {"a": "SGD, 5 steps", "b": None}}
    made = experiment(methods={"a": {"method": "sgd"}, "b": {"method": "sgd"}}, figure=figure)
    assert style.names(made, ["a", "b"]) == {"a": "SGD (5 steps)", "b": "SGD"}


def test_the_label_of_armijos_rule_says_so():
    made = experiment(methods={"sibp": {}, "sibp-armijo": {"method": "sibp"}})
    assert style.names(made, ["sibp", "sibp-armijo"]) == {"sibp": "SIBP", "sibp-armijo": "SIBP (Armijo)"}


def test_labels_from_different_scales_are_told_apart():
    exhibit = with_records("j-table2", sgd="full")
    assert exhibit.reductions == "SGD at the papers' own size; ProxBP, SIBP at 100 of 60000 training samples, 1 of 5 seeds"
    deep = with_records("j-fig4", **{"bcd": "full", "bcd-bias": "full"})
    assert "BCD, BCD (biases 0.1) at the papers' own size" in deep.reductions


def test_labels_with_different_seeds_are_told_apart():
    exhibit = with_records("j-table2", sgd="full", proxbp="full", sibp="full")
    exhibit.source.records["proxbp"]["settings"]["seeds"] = 1
    exhibit.source.records["sgd"]["seeds"] = [0, 1, 2, 3, 4]
    assert exhibit.reductions == "SGD, SIBP at the papers' own size; ProxBP at 1 of 5 seeds"
    assert "Seeds: 1 to 5." in exhibit.caption("Text.")


def test_a_label_with_a_length_of_its_own_is_no_other_scale():
    exhibit = with_records("j-fig10")  # BCD counts sweeps
    exhibit.source.records["bcd"]["settings"]["methods"]["bcd"]["training"]["epochs"] = 2
    assert exhibit.reductions.startswith("small scale: 100 of 10000 training samples") and "2 of " in exhibit.reductions


# --- A's and I's contradicting cell -------------------------------------------------------------------------------------------------


def settle(*ends: tuple[float, float, str], scale: str = "full") -> str:
    """Return the sentence for one SGD run at step size 1 whose seeds end with these accuracies and statuses."""
    columns = ["method", "algorithm", "eta", "member", "step", "train_accuracy", "validation_accuracy", "status"]
    rows = [("sgd", "sgd", 1.0, member, step, *end) for member, end in enumerate(ends) for step in (0, 1100)]
    paper = {
        "metrics": ["train_accuracy", "validation_accuracy"],
        "contradiction": {"algorithm": "sgd", "eta": 1, "A": [0.9835, 0.9760], "I": [0.0980, 0.0924]},
    }
    return step_size_table.settle(SimpleNamespace(paper=paper, runs=pd.DataFrame(rows, columns=columns), scale=scale))


def test_runs_near_a_version_support_it():
    assert "has 0.9600 / 0.9500 on average and supports A in all 2 seeds" in settle((0.97, 0.96, "done"), (0.95, 0.94, "done"))
    assert "supports I in all 2 seeds" in settle((0.1, 0.1, "done"), (np.nan, np.nan, "diverged"))


def test_runs_near_neither_support_neither():
    assert "supports neither" in settle((0.5, 0.5, "done"))
    assert "supports neither" in settle((0.9835, 0.92, "done"))  # both accuracies must be near


def test_seeds_that_disagree_leave_it_undecided():
    assert "is undecided: of 3 seeds 2 support A, 1 support I" in settle(
        (0.98, 0.97, "done"), (0.97, 0.97, "done"), (0.1, 0.1, "done")
    )


def test_without_a_run_nothing_is_settled_and_a_reduced_scale_is_named():
    assert "was not run, so nothing is settled" in settle()
    assert "Our run at laptop scale has" in settle((0.98, 0.97, "done"), scale="laptop")


# --- exhibits that their experiment file describes whole ----------------------------------------------------------------------------


def looks(exhibit: str) -> dict:
    return plain._looks(Exhibit(exhibit), Exhibit(exhibit).experiment.figure.lines)


def test_labels_of_one_method_get_tints_of_its_colour_and_the_only_one_the_colour_itself():
    drawn = looks("j-fig9")
    assert {label: name for label, (name, _) in drawn.items()} == {"sibp-1": "SIBP-1", "sibp-2": "SIBP-2", "adam": "Adam"}
    assert [drawn[label][1] for label in ("sibp-1", "sibp-2")] == style.tints("sibp", 2)
    assert drawn["adam"][1] == style.line("adam")


def test_a_label_that_is_like_another_shares_its_look_and_takes_no_tint():
    drawn = looks("p-fig2")
    assert drawn["released-cg5"][1] == drawn["cg5"][1] == style.tints("proxprop", 4)[1]


def test_what_has_neither_figure_nor_table_needs_a_notebook():
    with pytest.raises(LookupError, match=r"need workflow/notebooks/j-fig2\.py"):
        plain.draw(Exhibit("j-fig2"))


def test_the_notebook_of_such_an_exhibit_names_it_and_draws_it_from_its_file():
    text = notebook.source(Exhibit("j-fig4"))
    assert text.startswith(
        "# %% [markdown]\n# # J, Section 5.2, Figure 4: A net of ten hidden layers on MNIST, initial spread 0.01\n"
    )
    assert 'exhibit = Exhibit("j-fig4")' in text and "plain.draw(exhibit)" in text
    assert notebook.source(Exhibit("j-fig3")) == (notebook.NOTEBOOKS / "j-fig3.py").read_text(encoding="utf-8")


def test_a_notebook_that_the_experiment_file_does_not_name_draws_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "j-fig4.py").write_text("raise AssertionError")
    for module in (notebook, draw):
        monkeypatch.setattr(module, "NOTEBOOKS", tmp_path)
    assert "plain.draw(exhibit)" in notebook.source(Exhibit("j-fig4"))
    monkeypatch.setattr(plain, "draw", lambda exhibit: Table(["a head"], exhibit.id))
    draw.draw("j-fig4")
    assert capsys.readouterr().out.startswith("j-fig4")
