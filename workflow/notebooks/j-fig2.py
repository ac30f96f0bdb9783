# %% [markdown]
# # J, Figure 2: where a product of seven weights has no gradient, and where it has too much
# With all weights equal, the loss of the scalar chain is f(w) = (w⁷ − 1)² and its gradient f′(w) = 14 w⁶ (w⁷ − 1).
# The paper shades [−0.8, 0.8] as vanishing and everything outside [−0.8, 1.2] as exploding. Nothing is trained.

# %%
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from scipy.optimize import brentq

from workflow.figures import style
from workflow.figures.exhibit import Exhibit
from workflow.figures.layout import Table, cell

style.use()
exhibit = Exhibit("j-fig2")
left, right = exhibit.paper["vanishing"]
_, upper = exhibit.paper["exploding_outside"]


def gradient(w):
    return 14 * w**6 * (w**7 - 1)


# %% The figure: linear as in the paper, and the size on a logarithmic axis, which shows the vanishing itself
w = np.linspace(-1.5, 1.5, 1201)
vanishing, exploding = sns.color_palette("colorblind")[9], sns.color_palette("colorblind")[3]
figure, panels = plt.subplots(1, 2, figsize=(style.WIDTH, 2.7))
for ax, values in zip(panels, (gradient(w), np.abs(gradient(w))), strict=True):
    ax.axvspan(left, right, color=vanishing, alpha=0.25, lw=0, label="vanishing")
    for span in ((w[0], left), (upper, w[-1])):
        ax.axvspan(*span, color=exploding, alpha=0.15, lw=0, label="exploding" if span[1] == left else None)
    ax.plot(w, values, color="black")
    ax.set(xlabel="w, the value of all seven weights", xlim=(w[0], w[-1]))
panels[0].set(ylabel="f′(w)", ylim=(-400, 400), title="gradient of $(w^7-1)^2$")
panels[1].set(ylabel="|f′(w)|", yscale="log", ylim=(1e-8, 1e4), title="its size")
style.letter(panels)
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)

# %% The numbers: how small and how large the gradient is in the paper's regions, and where it passes round thresholds
inside, outside = np.linspace(left, right, 20001), np.concatenate([np.linspace(-2, left, 20001), np.linspace(upper, 2, 20001)])
peak = np.max(np.abs(gradient(inside)))
least = np.min(np.abs(gradient(outside)))


def crossings(threshold):
    """Return the ends of the interval around 0 on which |f'| stays below a threshold."""

    def above(x):
        return abs(gradient(x)) - threshold

    top = (6 / 13) ** (1 / 7)  # where |f'| is largest between 0 and 1
    return brentq(above, -2, 0), brentq(above, 0, top) if above(top) > 0 else brentq(above, 1, 2)


facts = [
    (f"largest |f′| on [{left}, {right}]", peak),
    (f"share of [{left}, {right}] where |f′| < 0.01", np.mean(np.abs(gradient(inside)) < 0.01)),
    (f"|f′| at w = {left}", abs(gradient(left))),
    (f"|f′| at w = {right}", abs(gradient(right))),
    (f"|f′| at w = {upper}", abs(gradient(upper))),
    (f"least |f′| outside [{left}, {upper}]", least),
]
for threshold in (0.01, 0.1, 1, 10, 100):
    low, high = crossings(threshold)
    facts += [(f"|f′| passes {threshold:g} left of 0 at w =", low), (f"|f′| passes {threshold:g} right of 0 at w =", high)]
data = pd.DataFrame(facts, columns=["fact", "value"])
data

# %%
caption = exhibit.caption(
    f"Gradient of f(w) = (w⁷ − 1)². The paper's vanishing region is [{left}, {right}], its exploding region all outside "
    f"[{left}, {upper}]. The two meet at w = {left}, where |f′| = {abs(gradient(left)):.2f}: the largest value inside the one "
    "is the least outside the other."
)
table = Table(["fact", "value"], "The paper's regions in numbers.", [[(cell(fact), cell(f"{value:.4g}")) for fact, value in facts]])
exhibit.save(caption, table, data, figure)
print(table.markdown())
