# %% [markdown]
# # J, Figure 12: pruning LeNet-5 with an l1 term
# Each net is trained with an l1 term of weight γ; then the smallest weights are set to zero until a share of all weights is. A line
# begins at the share that training alone has made zero. The accuracy axes are logarithmic in the share of wrong answers.

# %%
from typing import Any

from matplotlib import pyplot as plt

from workflow.figures import curve_table, style
from workflow.figures.columns import TITLES, column
from workflow.figures.curves import Line
from workflow.figures.exhibit import Exhibit
from workflow.figures.layout import number

style.use()
exhibit = Exhibit("j-fig12")
aim, claimed = exhibit.paper["sparsity"], exhibit.paper["train_accuracy"]
lines = {}
for label in exhibit.records:
    cuts = exhibit.cuts(label)
    cuts["accurate_sparsity"] = cuts["sparsity"].where(cuts["train_accuracy"] >= claimed)
    groups = cuts.groupby("l1")
    for (key, rows), look in zip(groups, style.tints(label, groups.ngroups), strict=True):
        l1 = float(str(key))
        lines[label, l1] = Line(f"{label}, l1 {number(l1)}", style.name(label), f"γ = {number(l1)}", look, rows)

# %% The figure: a column for each method, which has γ of its own
figure, panels = plt.subplots(2, 2, figsize=(style.WIDTH, 5), sharex=True, sharey="row")
for axes, method, side in zip(panels.T, ("sibp", "sgd"), ("left", "right"), strict=True):
    for ax, metric in zip(axes, ("train_accuracy", "test_accuracy"), strict=True):
        for line in (line for (label, _), line in lines.items() if label == method):
            cuts = line.rows.groupby("share")
            curve = cuts[metric].agg(["mean", "min", "max"]).set_axis(cuts["sparsity"].mean())
            ax.plot(curve.index, curve["mean"], **line.look, label=line.setting)
            ax.fill_between(curve.index, curve["min"], curve["max"], color=line.look["color"], alpha=0.2, lw=0)
        style.stretch(ax, "y")
        ax.set(title=f"{style.name(method)}, {TITLES[metric]}", ylabel="accuracy", xlabel="share of weights that are zero")
        ax.label_outer()
    if method == "sibp":
        look = {"color": "0.35", "markeredgecolor": "white", "markersize": 9, "zorder": 5}
        axes[0].plot(aim, claimed, "P", **look, label=f"paper: {claimed} at {aim}")
    handles, names = axes[0].get_legend_handles_labels()
    place: Any = f"outside lower {side}"
    figure.legend(handles, names, loc=place, ncols=2, fontsize="small")
style.letter(panels.ravel())

# %% The numbers: what training alone makes zero, accuracies at the paper's share, and how far one can cut
at = f"with {number(aim)} zero"
columns = [
    column("train_accuracy", "first", head="training accuracy, uncut"),
    column("test_accuracy", "first", head="test accuracy, uncut"),
    column("sparsity", "first", head="zeros by training alone", better=""),
    column("train_accuracy", "pruned", aim, head=f"training accuracy {at}"),
    column("test_accuracy", "pruned", aim, head=f"test accuracy {at}"),
    column("accurate_sparsity", "highest", head=f"most zeros at training accuracy {number(claimed)}", better="higher"),
]
data = curve_table.numbers(lines, columns)
table = curve_table.table(data, columns, exhibit.paper["claims"])
reached = data[data["quantity"] == columns[3].head].set_index("name")["value"].groupby(level=0).max()
alt = f"Accuracy against the share of zero weights, a line for each γ. The highest training accuracy {at}: " + ", ".join(
    f"{value:.3f} ({name})" for name, value in reached.items()
)
caption = exhibit.caption(
    "Training and test accuracy of LeNet-5 against the share of its weights that are zero, after training with an l1 term of "
    "weight γ and cutting the smallest weights. Lines: mean over the seeds; bands: their range; a line begins at the share that "
    "training alone makes zero. The accuracy axes are logarithmic in the share of wrong answers."
)
exhibit.save(caption, table, data.assign(exhibit=exhibit.id, scale=exhibit.scale), figure, f"{alt}.")
print(table.markdown())
