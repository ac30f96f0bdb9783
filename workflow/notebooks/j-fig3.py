# %% [markdown]
# # J, Figure 3: leaving the region where the gradient vanishes
# A chain of seven scalar weights, started near 0.15, fitted to ten random points. Loss and change of the first weight per step,
# with one random point a step (stochastic) and with all ten (full batch). The paper gives no step sizes. The rule here: of
# each method's grid, the setting that loses the fewest seeds, and of these the one with the lowest mean loss after the last step. A seed
# is lost if it diverged, or ended above the loss that it started from.

# %%
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from workflow.figures import style
from workflow.figures.columns import column
from workflow.figures.exhibit import Exhibit
from workflow.figures.hyperparameters import band, choose, in_words, members
from workflow.figures.layout import Table, cell, decimal

style.use()
exhibit = Exhibit("j-fig3")
sampling = {label: "full batch" if r["training"]["batch_size"] == "full" else "stochastic" for label, r in exhibit.records.items()}


def count_lost(row):
    """Return how many seeds of a setting diverged, or ended above the loss that they started from."""
    rows = members(exhibit.runs, row, exhibit.hyperparameters).sort_values("step")
    losses = rows.pivot(index="step", columns="member", values="train_loss")
    return int((~(losses.iloc[-1] <= losses.iloc[0])).sum())


final = exhibit.final.assign(diverged=[count_lost(row) for _, row in exhibit.final.iterrows()])
chosen = {label: choose(final, label, "train_loss_mean", largest=False) for label in exhibit.records}
curves = {label: members(exhibit.runs, row, exhibit.hyperparameters) for label, row in chosen.items()}

pd.DataFrame({label: {"setting": in_words(row), "loss": row["train_loss_mean"]} for label, row in chosen.items()}).T

# %% The figure
titles = {"train_loss": "mean loss", "first_weight_change": "$|w_1^{k+1} - w_1^k|$"}
ends = {"train_loss": (1e-7, 1e6), "first_weight_change": (1e-12, 1e4)}  # of the axes: what explodes would flatten all else
largest = max(curve["train_loss"].max() for curve in curves.values())
figure, panels = plt.subplots(2, 2, figsize=(style.WIDTH, 4.4), sharex=True, sharey="col")
for row_of_panels, kind in zip(panels, ("stochastic", "full batch"), strict=True):
    for ax, (metric, title) in zip(row_of_panels, titles.items(), strict=True):
        for label in (label for label in chosen if sampling[label] == kind):
            curve = band(curves[label][curves[label]["step"] > 0], "step", metric)
            name, look = style.look(label, chosen[label]["algorithm"])
            ax.plot(curve.index, curve["mean"], **look, label=f"{name}, {in_words(chosen[label])}")
            ax.fill_between(curve.index, curve["min"], curve["max"], color=look["color"], alpha=0.2, lw=0)
        ax.set(xscale="log", ylabel=title, title=kind)
        ax.tick_params(which="minor", left=False, bottom=False)
    row_of_panels[0].legend(fontsize="x-small", loc="lower left")  # the panel beside it has the same lines
for ax, (low, high) in zip(panels[0], ends.values(), strict=True):
    style.logarithmic(ax, "y")
    ax.set_ylim(low, min(high, ax.get_ylim()[1]))
for ax in panels[1]:
    ax.set_xlabel("step")
style.letter(panels.ravel())


# %% The numbers behind it: after how many steps the loss has halved
def counts(fact):
    """Return median and range in words."""
    median, least, most = ("never" if np.isinf(fact[name]) else f"{fact[name]:.0f}" for name in ("median", "least", "most"))
    return median if least == most else f"{median} ({least} to {most})"


claimed = exhibit.paper["steps_until_drop"]
halved = column("train_loss", "falls_to", 0.5, head="steps until the loss has halved")
facts = []
for label, row in chosen.items():
    steps = halved.statistics(halved.per_seed(curves[label]))
    paper = claimed.get(row["algorithm"]) if sampling[label] == "stochastic" else None
    names = {"method": style.look(label, row["algorithm"])[0], "sampling": sampling[label], "setting": in_words(row)}
    values = {"median": steps["value"], "least": steps["least"], "most": steps["most"], "paper": paper}
    facts.append(names | values | {"final_loss": row["train_loss_mean"], "n": row["n"], "members": row["members"]})
data = pd.DataFrame(facts).sort_values("sampling", ascending=False, kind="stable")
groups = [
    [
        [
            cell(fact["method"]),
            cell(fact["sampling"]),
            cell(fact["setting"]),
            cell(counts(fact)),
            cell("" if pd.isna(fact["paper"]) else f"about {fact['paper']:.0f}"),
            cell(decimal(fact["final_loss"])),
            cell(f"{fact['n']:.0f} of {fact['members']:.0f}"),
        ]
        for _, fact in rows.iterrows()
    ]
    for _, rows in data.groupby("sampling", sort=False)
]
beyond = (
    f"The loss's axis ends at {ends['train_loss'][1]:.0e}; what explodes on the way, up to {largest:.0e}, and comes back leaves it."
)
caption = exhibit.caption(
    "Mean loss over the ten points and change of the first weight per step. Lines: mean over the seeds; bands: their range. "
    "Step sizes: of each method's grid those that lose the fewest seeds, and of these the lowest mean loss after the last step; "
    "a seed is lost if it diverged, or ended above the loss that it started from."
    + (f" {beyond}" if largest > ends["train_loss"][1] else "")
)
head = ["method", "sampling", "setting", halved.head, "paper: drops after", "last loss", "seeds"]
table = Table(head, "Steps until the loss has halved: median and range of the seeds.", groups)
exhibit.save(caption, table, data, figure)
print(table.markdown())
