# %% [markdown]
# # Beyond the papers: what explains A's Table 1
# Each row of A's table that varies η, trained again with one thing changed at a time. The distance of a variant is the largest difference
# from the paper's train accuracies in its columns.

# %%
import pandas as pd

from workflow.figures.exhibit import Exhibit
from workflow.figures.layout import Table, cell, decimal, number

exhibit, paper = Exhibit("x-why"), Exhibit("a-table1").paper
METRICS = paper["metrics"]
ROWS = {
    "sgd": {
        "sgd": "as stated: spread 0.01",
        "sgd-replacement": "batches drawn with replacement",
        "sgd-std05": "spread 0.05",
        "sgd-std1": "spread 0.1: 0.01 read as a variance",
    },
    "proxbp": {
        "proxbp": "as stated: spread 0.01, 5 steps of CG",
        "proxbp-cg1": "1 step of CG",
        "proxbp-std05": "spread 0.05",
        "proxbp-mean": "gradient of the mean loss",
    },
    "sibp": {
        "sibp": "as stated: spread 0.01, Armijo's rule",
        "sibp-newton": "curvature steps",
        "sibp-std05": "spread 0.05",
        "sibp-released": "the authors' program",
        "sibp-released-std05": "the authors' program, spread 0.05",
    },
}
NAMES = {"sgd": "SGD", "proxbp": "ProxBP, λ = 1", "sibp": "SIBP, λ = 1"}
printed = {
    row["algorithm"]: dict(zip(paper["columns"], row["values"], strict=True)) for row in paper["rows"] if row["varies"] == "eta"
}


def scaled(label: str, eta: float) -> float:
    """Return the η under which a label's run of this column is kept: delta/100 at η is delta at η/100."""
    return eta / exhibit.experiment.training.batch_size if label.endswith("-mean") else eta


# %% One row per cell: the paper's accuracies and ours
cells = []
for method, variants in ROWS.items():
    for label, words in variants.items():
        final = exhibit.final[exhibit.final["method"] == label]
        for eta, theirs in printed[method].items():
            ours = final[(final["eta"] / scaled(label, eta) - 1).abs() < 1e-6]
            if len(ours):
                head = {"method": method, "label": label, "variant": words, "eta": eta, "n": int(ours["n"].iloc[0])}
                head |= {f"paper_{metric}": value for metric, value in zip(METRICS, theirs, strict=True)}
                cells.append(head | {metric: ours[f"{metric}_mean"].iloc[0] for metric in METRICS})
data = pd.DataFrame(cells)
data["distance"] = (data["train_accuracy"] - data["paper_train_accuracy"]).abs().fillna(1.0)  # lost where the paper has a number
furthest = data.groupby(["method", "label"], sort=False)["distance"].max()
data

# %%
columns = [eta for eta in paper["columns"] if eta in set(data["eta"])]
table = Table(head=["", "", *(f"η = {number(eta)}" for eta in columns), "distance"], caption="")
found = []
for method, variants in ROWS.items():
    nearest = furthest[method].idxmin()
    found.append(
        f"{NAMES[method].split(',')[0]}: {variants[nearest]}, {furthest[method, nearest]:.3f} (as stated: {furthest[method, method]:.3f})"
    )
    here = data[data["method"] == method]
    shown = [eta for eta in columns if eta in set(here["eta"])]
    pair = {eta: " / ".join(decimal(value) for value in printed[method][eta]) if eta in shown else "" for eta in columns}
    lines = [[cell(NAMES[method]), cell("A's Table 1"), *(cell(pair[eta]) for eta in columns), cell("")]]
    for label, words in variants.items():
        own = here[here["label"] == label].set_index("eta")
        texts = [" / ".join(decimal(own.loc[eta, metric]) for metric in METRICS) if eta in own.index else "" for eta in columns]
        bold = label == nearest
        lines.append([cell(""), cell(words, bold), *(cell(text) for text in texts), cell(f"{furthest[method, label]:.3f}", bold)])
    table.groups.append(lines)
caption = exhibit.caption(
    "Train / validation accuracy after two epochs of MNIST: the rows of A's Table 1 over η, and our runs with one thing changed at a time. "
    f"Distance: the largest difference of the train accuracies in a row. Nearest to the paper: {'; '.join(found)}."
)
table.caption = caption
exhibit.save(caption, table, data.assign(exhibit=exhibit.id, scale=exhibit.scale))
print(table.markdown())
