# %% [markdown]
# # Beyond the papers: the searches
# Validation accuracy at the points that were tried, over the step size; filled: the one that was chosen. A search whose best point is at
# the edge of its grid is to be extended (docs/searches.md).

# %%
import math

from matplotlib import pyplot as plt

from workflow.figures import searches, style
from workflow.figures.exhibit import Exhibit
from workflow.figures.hyperparameters import SYMBOLS
from workflow.figures.layout import MISSING, Table, cell, number

style.use()
exhibit = Exhibit("x-search")
results = searches.read()


def in_words(options: dict[str, float]) -> str:
    """Return step sizes in words."""
    return ", ".join(f"{SYMBOLS.get(name, name)} = {number(value)}" for name, value in options.items())


# %% One row per point
data = searches.points(results)
data

# %% The figure: a panel for each search, over the option that varies first
columns = 3
figure, panels = plt.subplots(math.ceil(len(results) / columns), columns, figsize=(style.WIDTH, 8.2), squeeze=False)
for ax, name in zip(panels.ravel(), results, strict=False):
    for (label, algorithm), points in data[data["search"] == name].groupby(["label", "algorithm"], sort=False):
        axis = "eta" if points["eta"].nunique() > 1 or "lam" not in points or points["lam"].isna().all() else "lam"
        best = points.sort_values("accuracy").groupby(axis)["accuracy"].last()
        look, marked = style.line(algorithm), points[points["chosen"]]
        faint = {"alpha": 0.5} if label.endswith("-he") else {}
        ax.plot(best.index, best, **look, **faint, lw=1, marker="o", markersize=3, markerfacecolor="white")
        ax.plot(marked[axis], marked["accuracy"], "o", color=look["color"], markersize=5)
    ax.set(xscale="log", title=name)
    ax.tick_params(labelsize="x-small")
for ax in panels.ravel()[len(results) :]:
    ax.axis("off")
for ax in panels[:, 0]:
    ax.set_ylabel("validation accuracy", fontsize="x-small")
algorithms = list(dict.fromkeys(data["algorithm"]))
handles = [plt.Line2D([], [], **style.line(algorithm), label=style.name(algorithm)) for algorithm in algorithms]
figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize="small")

# %% The numbers
groups, edges = [], 0
for name, search in results.items():
    lines = []
    for label, chosen in search["chosen"].items():
        tried = data[(data["search"] == name) & (data["label"] == label)]
        edge = searches.beyond(search["tried"][label], chosen)
        edges += bool(edge)
        top, lost = tried["accuracy"].max(), int((tried["diverged"] > 0).sum())
        texts = [label, in_words(chosen), MISSING if math.isnan(top) else f"{top:.4f}", f"{lost} of {len(tried)}", in_words(edge)]
        lines.append([cell("" if lines else name), *map(cell, texts)])
    groups.append(lines)
made = [search["run"] for search in results.values()]
scales = ", ".join(dict.fromkeys(run["scale"] for run in made))
head = ["search", "label", "chosen", "validation accuracy", "points that diverged", "edge: try next"]
table = Table(head, "What was chosen, and where the best point is at the edge of its grid.", groups)
seeds = sorted({len(run["seeds"]) for run in made})
caption = exhibit.caption(
    "Validation accuracy after the searches' last epoch over the step size, η or, where η is the papers', λ: the best of the points that "
    f"share it; filled: chosen. From He's initial law: faint. Made at scale {scales}, with {' or '.join(map(str, seeds))} seeds; "
    f"{edges} of {data.groupby(['search', 'label']).ngroups} best points are at an edge."
)
exhibit.save(caption, table, data.assign(exhibit=exhibit.id, scale=exhibit.scale), figure)
print(table.markdown())
