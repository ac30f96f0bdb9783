# %% [markdown]
# # Beyond the papers: SIBP against tuned gradient methods
# Four nets; five methods, each with the same number of tries for its step size; the papers' initial law (spread 0.01) and He's.
# Every run lasts as many epochs, alone on the device. An epoch of SIBP costs more, so equal seconds are compared as well: each
# method within the seconds of SIBP's run from the same law, and SIBP within the seconds of that method's run.

# %%
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from workflow.figures import curve_table, style
from workflow.figures.columns import column
from workflow.figures.curves import Line
from workflow.figures.exhibit import Exhibit
from workflow.figures.hyperparameters import in_words
from workflow.figures.layout import Table, cell

style.use()
exhibit = Exhibit("x-fair")
nets = {
    "x-fair-mnist": "MNIST, 784-500-10",
    "x-fair-deep": "MNIST, ten hidden layers",
    "x-fair-cifar": "CIFAR-10, 3072-2000-500-10",
    "x-fair-cnn": "CIFAR-10, convolutional",
}
methods = ["sibp", "sgd", "nesterov", "adam", "rmsprop"]
laws = {"": "spread 0.01", "-he": "He"}
METRIC = "test_accuracy"
equal = column("equal_accuracy", "best", head="within SIBP's seconds")


def limited(rows, other):
    """Return rows with the accuracies that lie within the seconds of another label's run of the same seed, as `equal_accuracy`."""
    seconds = rows["seed"].map(other.groupby("seed")["seconds"].max())
    return rows.assign(equal_accuracy=rows[METRIC].where(rows["seconds"] <= seconds * (1 + 1e-9)))


# %% Every label's rows, with what SIBP needed and reached from the same initial law
lines = {}
for source in exhibit.sources:
    runs = {label: rows.sort_values(["member", "step"]) for label, rows in source.runs.groupby("method")}
    for method, suffix in ((method, suffix) for method in methods for suffix in laws):
        rows, sibp = runs[method + suffix], runs[f"sibp{suffix}"]
        rival = equal.per_seed(limited(sibp, rows))
        rows = limited(rows, sibp).assign(rival_accuracy=rows["seed"].map(rival))
        setting = f"{laws[suffix]}; {in_words(rows.iloc[0])}"
        lines[source.id, method + suffix] = Line(method + suffix, style.name(method), setting, style.line(method), rows)
columns = [
    column(METRIC, "best"),
    column("seconds", head="seconds", better=""),
    equal,
    column("rival_accuracy", head="SIBP within its seconds", better=""),
]
data = curve_table.numbers(lines, columns)
data[["net", "label"]] = data["method"].tolist()
data["law"] = [laws["-he" if label.endswith("-he") else ""] for label in data["label"]]
data

# %% The figure: a panel for each net
figure, panels = plt.subplots(2, 2, figsize=(style.WIDTH, 5), sharey=True)
for ax, (net, title) in zip(panels.ravel(), nets.items(), strict=True):
    for height, method in enumerate(methods):
        for suffix, face, shift in (("", None, -0.17), ("-he", "white", 0.17)):
            own = data[(data["net"] == net) & (data["label"] == method + suffix)].set_index("quantity")
            look = {"color": style.line(method)["color"], "markerfacecolor": face or style.line(method)["color"]}
            whole, equal = own.loc[columns[0].head], own.loc[columns[2].head]
            if whole["n"]:
                ax.plot([whole["least"], whole["most"]], [height + shift] * 2, color=look["color"], lw=1)
                ax.plot(whole["value"], height + shift, "o", **look, markersize=6)
                ax.plot(equal["value"], height + shift, "|", **look, markersize=11, markeredgewidth=1.4)
            else:
                ax.plot(0.02, height + shift, "x", **look, markersize=5, transform=ax.get_yaxis_transform())
    style.stretch(ax, "x")
    ax.set(title=title, ylim=(len(methods) - 0.5, -0.5), xlabel="best test accuracy" if ax in panels[1] else "")
    ax.set_yticks(range(len(methods)), [style.name(method) for method in methods])
style.letter(panels.ravel())
handles = [
    Line2D([], [], color="0.3", marker="o", linestyle="none", label="spread 0.01"),
    Line2D([], [], color="0.3", marker="o", markerfacecolor="white", linestyle="none", label="He"),
    Line2D([], [], color="0.3", marker="|", markersize=11, linestyle="none", label="within SIBP's seconds"),
]
if data["n"].eq(0).any():
    handles.append(Line2D([], [], color="0.3", marker="x", linestyle="none", markersize=5, label="all seeds lost"))
figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize="small")

# %% The numbers
groups, winners = [], []
for net, title in nets.items():
    part = curve_table.table(data[data["net"] == net], columns)
    groups.append([[cell("" if i else title), *line] for i, line in enumerate(part.groups[0])])
    first = data[(data["net"] == net) & (data["quantity"] == columns[0].head)].dropna(subset="value")
    winner = first.loc[first["value"].idxmax()]
    winners.append(f"{title}: {winner['name']} from {winner['law']}, {winner['value']:.4f}")
text = "Best test accuracy over all epochs: mean ± standard deviation over the seeds that did not diverge."
table = Table(["net", *part.head], text, groups)
caption = exhibit.caption(
    "Best test accuracy over the epochs for SIBP and for gradient methods with tuned step sizes, from the papers' initial law "
    "(spread 0.01) and from He's. Points: mean over the seeds; lines: their range; ticks: the best within the seconds of SIBP's "
    "run from the same law. "
    f"Best on each net: {'; '.join(winners)}."
)
data = data.drop(columns="method").assign(exhibit=exhibit.id, scale=exhibit.scale)
alt = f"Dot plot of best test accuracy, a panel for each of four nets. Best on each net: {'; '.join(winners)}."
exhibit.save(caption, table, data, figure, alt)
print(table.markdown())
