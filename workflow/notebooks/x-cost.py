# %% [markdown]
# # Beyond the papers: what a step costs
# One training step of each method on one mini-batch, against a step of torch's SGD and of its Adam on the same network: as they are by
# default, and in the form that was fastest. The floor is the ratio of the multiply-adds alone. Then how the time grows with the batch
# and with the parameters, and what it saves to train many networks at once.

# %%
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, NullLocator

from sibp.bench.labels import ADAM, AUTHORS, ENGINE, SGD, SIBP
from workflow.figures import style
from workflow.figures.exhibit import Exhibit
from workflow.figures.layout import MISSING, Table, cell

style.use()
exhibit = Exhibit("x-cost")
costs = exhibit.costs


def algorithm(step):
    """Return the key of a step's method in `style.METHODS`."""
    first = step.split(",")[0].split()
    return "sgd" if "SGD" in first else "adam" if "Adam" in first else first[0].lower()


def threads(label):
    count = costs[label]["environment"]["threads"]
    return f"{count} thread{'s' if count > 1 else ''}" if costs[label]["environment"]["device"] != "cuda" else "GPU"


# %% Every measurement: a row for each set, network and step
data = pd.DataFrame(
    {"set": label, "threads": cost["environment"]["threads"], "case": case["case"], "parameters": case["parameters"], **row}
    for label, cost in costs.items()
    for case in cost["cases"]
    for row in case["steps"]
)
by_step = data.set_index(["set", "case", "step"])
cases, steps = list(dict.fromkeys(data["case"])), list(dict.fromkeys(data["step"]))
steps = [step for step in steps if by_step.xs(step, level="step")["ratio"].notna().any()]
steps.sort(key=lambda step: next(place for place, name in enumerate((SGD, ADAM, "")) if step.startswith(name)))
methods = [step for step in steps if not step.startswith("torch")]
fastest = {  # of torch's forms, by set and network
    (label, each["case"], f"{optimizer}, the fastest form"): form
    for label, cost in costs.items()
    for each in cost["cases"]
    for optimizer, form in each["best"].items()
}
floors = by_step["floor"].dropna().groupby(["case", "step"]).first()
data

# %% The figure: a panel for each network, then growth and ensembles
shown = [SGD, ADAM, *dict.fromkeys(name for *_, name in fastest), *methods]  # every form is in the table
columns = min(3, len(cases))
rows = -(-len(cases) // columns)
height = max(2.7, 0.19 * len(shown))
figure = plt.figure(figsize=(1.2 * style.WIDTH, height * rows + 2.5))
upper, lower = figure.subfigures(2, height_ratios=[height * rows, 2.5])  # ty: ignore[not-iterable] - an array of two
above = upper.subplots(rows, columns, sharey=True, squeeze=False).ravel()
below = lower.subplots(1, 3)
marks = [(label, mark, face) for label, mark, face in zip(costs, "os^", [None, "white", "white"], strict=False)]
for ax, case in zip(above, cases, strict=False):
    for label, mark, face in marks:
        for place, step in enumerate(shown):
            timed = (label, case, fastest.get((label, case, step), step))
            ratio = by_step["ratio"].get(timed, float("nan"))
            colour = style.line(algorithm(step))["color"]
            ax.plot(ratio, place, mark, color=colour, markerfacecolor=face or colour, markersize=4.5)
    for place, step in enumerate(shown):
        if step in methods:  # torch's floors are 1
            ax.plot(floors.get((case, step), float("nan")), place, "|", color="0.3", markersize=9)
    ax.axvline(1, **style.PAPER)
    style.logarithmic(ax, "x")
    ax.set(title=case, ylim=(len(shown) - 0.5, -0.5), xlabel="time / torch SGD's")
    ax.set_yticks(range(len(shown)), shown, fontsize="x-small")
for ax in above[len(cases) :]:
    ax.set_visible(False)
for ax, over, name in zip(below, ["batch", "parameters"], ["mini-batch size", "number of parameters"], strict=False):
    for label, mark, face in marks:
        for line in costs[label]["scaling"]:
            if line["over"] == over:
                look, times = style.line(algorithm(line["step"])), [1e3 * seconds for seconds in line["seconds"]]
                ax.plot(line["sizes"], times, mark, **look, markerfacecolor=face or look["color"], markersize=4.5)
    ax.set(title=f"growth with the {over}", xlabel=name, ylabel="a step [ms]", xscale="log")
    style.logarithmic(ax, "y")
    sizes = next(line["sizes"] for line in costs[marks[0][0]]["scaling"] if line["over"] == over)
    ax.set_xticks(sizes, [EngFormatter(places=0, sep="")(size) for size in sizes], fontsize="x-small", minor=False)
    ax.xaxis.set_minor_locator(NullLocator())
ax, groups = below[2], {label: cost["ensemble"] for label, cost in costs.items()}
kinds = [row["step"] for row in next(iter(groups.values()))["steps"]]
for (_, mark, face), group in zip(marks, groups.values(), strict=True):
    for place, row in enumerate(group["steps"]):
        colour = style.line(algorithm(row["step"]))["color"]
        ax.plot(1e3 * row["median_seconds"], place, mark, color=colour, markerfacecolor=face or colour, markersize=4.5)
members = next(iter(groups.values()))["members"]
style.logarithmic(ax, "x")
ax.set(title=f"{members} networks", xlabel="a member's step [ms]", ylim=(len(kinds) - 0.5, -0.5))
ax.set_yticks(range(len(kinds)), kinds, fontsize="x-small")
style.letter([*above[: len(cases)], *below])
for ax in above[: len(cases)]:
    ax.set_title(ax.get_title(loc="left"), loc="left", fontsize="x-small")  # the longest network's name is then not cut off
handles = [Line2D([], [], **style.line(key), label=style.name(key)) for key in ("sibp", "sgd")]
handles += [
    Line2D([], [], color="0.3", marker=m, markerfacecolor=f or "0.3", linestyle="none", label=threads(s)) for s, m, f in marks
]
handles.append(Line2D([], [], color="0.3", marker="|", markersize=9, linestyle="none", label="floor"))
lower.legend(handles=handles, loc="outside lower center", ncols=4, fontsize="small")


# %% The table: ratios to torch's SGD, to Adam and to the best of each, then what the ratios are made of
def entries(step, column, form):
    """Return a line's cells: for each network the numbers of all sets, `/` between them."""
    values = [[by_step[column].get((label, case, step), float("nan")) for label in costs] for case in cases]
    return [cell(" / ".join(MISSING if pd.isna(v) else form(v) for v in each)) for each in values]


def with_floor(step):
    """Return a line's cells: for each network the ratios to torch's SGD, and the floor in brackets."""
    line = entries(step, "ratio", "{:.2f}".format)
    if step.startswith("torch"):
        return line
    own = [floors.get((case, step)) for case in cases]
    return [each if floor is None else cell(f"{each[0].text} ({floor:.2f})") for each, floor in zip(line, own, strict=True)]


def best(optimizer):
    """Return a line's cells: for each network which form of an optimizer was the fastest, `/` between the sets that differ."""
    timed = [[each for cost in costs.values() for each in cost["cases"] if each["case"] == case] for case in cases]
    return [cell(" / ".join(dict.fromkeys(_best(each["best"], optimizer) for each in same))) for same in timed]


def _best(forms, optimizer):
    form = forms.get(optimizer, MISSING)
    return "the default" if form == optimizer else form.removeprefix(f"{optimizer}, ")


def memory(step):
    base = by_step["peak_bytes"] if "peak_bytes" in by_step else {}
    pairs = [(base.get((next(iter(costs)), case, step)), base.get((next(iter(costs)), case, SGD))) for case in cases]
    return [cell(MISSING if not own or not other or pd.isna(own) else f"{own / other:.2f}") for own, other in pairs]


ratios = [[cell(step), *with_floor(step)] for step in steps]
to_best = [[cell(f"{step}: / the best SGD"), *entries(step, "best_ratio", "{:.2f}".format)] for step in methods]
to_best.append([cell("the best SGD"), *best(SGD)])
to_adam = [
    [cell(f"{SIBP}: / torch Adam"), *entries(SIBP, "adam_ratio", "{:.2f}".format)],
    [cell(f"{SIBP}: / the best Adam"), *entries(SIBP, "best_adam_ratio", "{:.2f}".format)],
    [cell("the best Adam"), *best(ADAM)],
]
rates = [
    [cell(f"{step}: share of the largest product rate"), *entries(step, "share_of_ceiling", "{:.0%}".format)]
    for step in (SGD, SIBP)
]
peaks = [[cell(f"{step}: peak memory / torch SGD's"), *memory(step)] for step in (ADAM, SIBP)]
sets = " / ".join(threads(label) for label in costs)
table = Table(
    ["step", *cases],
    f"Time of a step over torch SGD's, medians of one run ({sets}); in brackets the floor, the ratio of their multiply-adds. "
    "Then the same over torch's SGD and Adam at their best.",
    [ratios, to_best, to_adam, rates, peaks],
)

# %% What to say of it
promises = [bound for cost in costs.values() for bound in cost["bounds"]]
broken = [
    f"{b['step']} against {b['reference']} on {b['case']}, {b['ratio']:.2f}, at most {b['most']:g}"
    for b in promises
    if not b["kept"]
]
exponents = [
    f"{threads(label)}: " + ", ".join(f"{line['step']} {line['exponent']:.2f} in {line['over']}" for line in cost["scaling"])
    for label, cost in costs.items()
]
products = " and ".join(f"{cost['ceiling'] / 1e9:.0f}" for cost in costs.values())
loads = ", ".join(f"{cost['environment']['load_before']:.1f}" for cost in costs.values())
bounds = f"Of the package's {len(promises)} bounds that were measured here, {len(promises) - len(broken)} hold" if promises else ""
caption = exhibit.caption(
    f"The time of one training step of each method over that of torch's SGD ({sets}; load of the machine before: {loads}), how it grows "
    f"(powers: {'; '.join(exponents)}), and one member's step in an ensemble and alone. "
    f"Processor: {exhibit.processors}; torch's largest product rate: {products} GFLOP/s. "
    "Upright strokes: the floor, the ratio of the multiply-adds alone. "
    + (f"{bounds}{': not ' if broken else ''}{'; not '.join(broken)}." if bounds else "")
)
alt = f"Dot plots of the time of a step relative to torch SGD on {len(cases)} networks, growth curves and bars for an ensemble."
first = next(iter(costs))


def against(step, column="ratio"):
    """Return a step's ratios in words, for the networks on which it was measured with the first set."""
    own = {case: by_step[column].get((first, case, step), float("nan")) for case in cases}
    return ", ".join(f"{ratio:.2f} ({case})" for case, ratio in own.items() if pd.notna(ratio)) or "not measured"


finding = (
    f"A step of SIBP with 5 conjugate gradient steps over one of torch's SGD as it is by default ({threads(first)}, {exhibit.processors}): "
    f"as an optimizer of a module {against(SIBP)}; in the engine that trained the exhibits {against(ENGINE)}, over SGD in its "
    f"fastest form {against(ENGINE, 'best_ratio')}; as the authors' program computes it {against(AUTHORS)}."
)
exhibit.save(caption, table, data.assign(exhibit=exhibit.id, scale=exhibit.scale), figure, alt, finding)
print(table.markdown())
