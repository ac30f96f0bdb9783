# %% [markdown]
# # I, Figure 2: SIBP, ProxBP and SGD per epoch of MNIST
# Training loss, training accuracy and validation accuracy. SIBP and ProxBP use the paper's η = 0.1. What
# the paper leaves unsaid (SGD's step size, λ) is the point of the grid with the best mean validation accuracy after the last epoch.

# %%
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from workflow.figures import style
from workflow.figures.columns import TITLES
from workflow.figures.exhibit import Exhibit
from workflow.figures.hyperparameters import band, choose, in_words, members
from workflow.figures.layout import MISSING, Table, cell, decimal, spread

style.use()
exhibit = Exhibit("i-fig2")
chosen = {label: choose(exhibit.final, label, "validation_accuracy_mean") for label in exhibit.records}
settings = {label: in_words(row) for label, row in chosen.items()}
settings

# %% The figure
titles = {metric: TITLES[metric] for metric in ("train_loss", "train_accuracy", "validation_accuracy")}
figure, panels = plt.subplots(1, 3, figsize=(style.WIDTH, 2.5))
for ax, (metric, title) in zip(panels, titles.items(), strict=True):
    for label, row in chosen.items():
        curve = band(members(exhibit.runs, row, exhibit.hyperparameters), "epoch", metric)
        look, algorithm = style.line(row["algorithm"]), row["algorithm"]
        ax.plot(curve.index, curve["mean"], **look, label=f"{style.name(algorithm)}, {settings[label]}")
        ax.fill_between(curve.index, curve["min"], curve["max"], color=look["color"], alpha=0.2, lw=0)
    ax.set(xlabel="epoch", ylabel=title.split()[1], title=title)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
panels[0].set(ylabel="mean cross-entropy")
style.logarithmic(panels[0], "y")
for ax in panels[1:]:
    style.stretch(ax, "y")
style.letter(panels)
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)

# %% The numbers behind it: where each curve ends
rows = [{"method": label, "setting": settings[label]} | row.to_dict() for label, row in chosen.items()]
data = pd.DataFrame(rows)
group = [
    [
        cell(style.name(row["algorithm"])),
        cell(settings[label]),
        *(cell(f"{decimal(row[f'{metric}_mean'])} {spread(row[f'{metric}_std'])}".strip()) for metric in titles),
        cell(f"{row['n']:.0f} of {row['members']:.0f}" if row["n"] else MISSING),
    ]
    for label, row in chosen.items()
]
caption = exhibit.caption(
    "Training loss, training accuracy and validation accuracy per epoch. Lines: mean over the seeds that did not diverge; bands: "
    "their range. SGD's step size and λ of the others are the points of their grids with the best mean validation accuracy after "
    "the last epoch."
)
table = Table(["method", "setting", *titles.values(), "seeds"], "Where the curves end: mean ± standard deviation.", [group])
exhibit.save(caption, table, data, figure)
print(table.markdown())
