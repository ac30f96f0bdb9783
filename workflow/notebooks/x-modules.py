# %% [markdown]
# # Beyond the papers: networks that they do not know
# Seven small networks of kinds that people train: a residual MLP with LayerNorm, a recurrent cell, a vision transformer, a ResNet with
# BatchNorm, a U-Net, an MLP-Mixer. Every method has as many points and steps; the best point on validation images is trained with other
# seeds and measured on test images. A step of SIBP costs more, so equal seconds are compared as well.

# %%
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from workflow.figures import fits, style
from workflow.figures.exhibit import Exhibit
from workflow.figures.layout import MISSING, Table, cell

style.use()
exhibit = Exhibit("x-modules")
NETWORKS = {
    "residual-mlp-mnist": "residual MLP, MNIST",
    "residual-mlp-cifar10": "residual MLP, CIFAR-10",
    "rnn": "recurrent cell, MNIST",
    "vit": "vision transformer, CIFAR-10",
    "resnet": "ResNet, CIFAR-10",
    "unet": "U-Net, MNIST",
    "mixer": "MLP-Mixer, MNIST",
}
METHODS: dict[str, tuple[str, dict]] = {
    "sgd": ("SGD, momentum 0.9", style.line("sgd")),
    "adamw": ("AdamW", style.line("adam")),
    "sibp": ("SIBP", style.line("sibp")),
    "sibp-bounded": ("SIBP, moves bounded", style.line("sibp") | {"linestyle": ":"}),
    "proxprop": ("ProxProp + Adam", style.line("proxprop")),
}
REFERENCE = "adamw"
networks = {label: NETWORKS[label] for label in exhibit.fits}
scores = {label: fits.score(fit["task"]) for label, fit in exhibit.fits.items()}
scores

# %% One row per network and method: means over the seeds that did not diverge
rows, curves = [], {}
for label, fit in exhibit.fits.items():
    runs = fits.final_runs(fit)
    budget = runs[runs["method"] == REFERENCE].groupby("seed")["seconds"].max()
    for method in METHODS:
        own = curves[label, method] = runs[(runs["method"] == method) & ~runs["diverged"]]
        last, equal = own.groupby("seed")["score"].last(), fits.within(own, budget)
        median, lost = fits.spread(fit, method)
        chosen = next(run["options"] for run in fit["runs"] if run["method"] == method and run["split"] == "test")
        grid = fit["settings"]["methods"][method].get("grid", {})
        rows.append(
            {
                "network": label,
                "method": method,
                "task": fit["task"],
                "steps": fit["settings"]["steps"],
                "n": len(last),
                **{f"chosen_{name}": chosen[name] for name in grid},
                "score": last.mean(),
                "score_std": last.std(),
                "equal_score": equal.mean(),
                "equal_score_std": equal.std(),
                "seconds": own.groupby("seed")["seconds"].max().mean(),
                "validation_median": median,
                "points_lost": lost,
            }
        )
data = pd.DataFrame(rows)
data["seconds_ratio"] = data["seconds"] / data["network"].map(data[data["method"] == REFERENCE].set_index("network")["seconds"])
data


# %% Which is best on each network
def sign(label):
    """Return 1 where more of a network's score is better, else -1."""
    return 1 if scores[label] == "accuracy" else -1


def best(label, column):
    """Return the best method of a network in a column: the highest accuracy, or the lowest loss."""
    part = data[data["network"] == label].dropna(subset=column).set_index("method")
    return (sign(label) * part[column]).idxmax()


steps_won = {label: best(label, "score") for label in networks}
seconds_won = {label: best(label, "equal_score") for label in networks}

# %% The figure: a row for each network, against steps and against seconds
figure, panels = plt.subplots(len(networks), 2, figsize=(style.WIDTH, 1.3 * len(networks) + 0.8), sharey="row", squeeze=False)
for pair, (label, title) in zip(panels, networks.items(), strict=True):
    for method, (_, look) in METHODS.items():
        own = curves[label, method].groupby("step")
        mean, low, high = (getattr(own["score"], name)() for name in ("mean", "min", "max"))
        for ax, x in zip(pair, (mean.index, own["seconds"].mean()), strict=True):
            ax.plot(x, mean, **look, linewidth=1.2)
            ax.fill_between(x, low, high, color=look["color"], alpha=0.12, linewidth=0)
    pair[0].set(title=title, ylabel=f"test {scores[label]}")
    style.logarithmic(pair[1], "x")
    if scores[label] == "loss":
        style.logarithmic(pair[0], "y")
for ax, text in zip(panels[-1], ("step", "seconds of training"), strict=True):
    ax.set_xlabel(text)
handles = [Line2D([], [], **look, label=name) for name, look in METHODS.values()]
figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize="small")


# %% The numbers
def number(row, column):
    if pd.isna(row[column]):
        return MISSING
    return f"{row[column]:.4f}" + (f" ± {row[f'{column}_std']:.4f}" if row["n"] > 1 else "")


groups = []
for label, title in networks.items():
    lines = []
    for _, row in data[data["network"] == label].iterrows():
        method = row["method"]
        options = {
            name.removeprefix("chosen_"): row[name] for name in row.index if name.startswith("chosen_") and pd.notna(row[name])
        }
        lost = f" ({row['points_lost']} lost)" if row["points_lost"] else ""
        lines.append(
            [
                cell("" if lines else f"{title}, {row['steps']} steps"),
                cell(METHODS[method][0]),
                cell(", ".join(f"{name} {value:g}" for name, value in options.items())),
                cell(number(row, "score"), steps_won[label] == method),
                cell(number(row, "equal_score"), seconds_won[label] == method),
                cell(f"{row['seconds_ratio']:.2f}"),
                cell(f"{row['validation_median']:.4f}{lost}"),
            ]
        )
    groups.append(lines)
table = Table(
    ["network", "method", "chosen", "after the last step", "within AdamW's seconds", "seconds / AdamW's", "median point"],
    "Mean ± standard deviation over the seeds that did not diverge: test accuracy, of the U-Net test loss.",
    groups,
)

# %% What came out, in words that the numbers choose
IMPLICIT = ("sibp", "sibp-bounded", "proxprop")


def standing(label, column):
    """Return how a network's best implicit method stands to the better of SGD and AdamW: apart by more than both spreads, or level.

    Unmeasured is it where no implicit method has a measurement, within AdamW's seconds say.
    """
    part = data[data["network"] == label].dropna(subset=column).set_index("method")
    ours, theirs = (part[part.index.isin(IMPLICIT) == own] for own in (True, False))
    if ours.empty or theirs.empty:
        return "unmeasured"
    (a, s), (b, t) = (
        rows.loc[(sign(label) * rows[column]).idxmax(), [column, f"{column}_std"]].fillna(0) for rows in (ours, theirs)
    )
    lead, spread = sign(label) * (a - b), (s**2 + t**2) ** 0.5
    return "ahead" if lead > spread else "behind" if lead < -spread else "level"


def standings(column):
    counts = pd.Series([standing(label, column) for label in networks]).value_counts()
    words = [*("ahead", "level", "behind"), *(["unmeasured"] if "unmeasured" in counts else [])]
    return ", ".join(f"{word} on {counts.get(word, 0)}" for word in words)


caption = exhibit.caption(
    "Test accuracy (test loss of the U-Net, which takes noise away): mean ± standard deviation over the seeds that did not diverge, after "
    "the last step and, on the straight line between measurements, within the seconds of AdamW's runs of that seed. Median point: of the "
    "validation scores of all points, which says how much depends on the choice; lost: points that ended with no number. "
    "The best implicit method (SIBP, ProxProp) against the better of SGD and AdamW, level where they differ by less than the root of both "
    f"variances: after equal steps {standings('score')} of {len(networks)}, after equal seconds {standings('equal_score')}."
)
alt = f"Curves of test accuracy against steps and against seconds on {len(networks)} networks."
exhibit.save(caption, table, data.assign(exhibit=exhibit.id, scale=exhibit.scale), figure, alt)
print(table.markdown())
