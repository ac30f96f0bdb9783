# %% [markdown]
# # P, Figure 2: exact and inexact proximal steps
# Training loss, validation accuracy and test accuracy per epoch of CIFAR-10. Above with a correct conjugate gradient (CG),
# below with the one in the authors' released program. The paper's middle panel, loss against seconds, is left out: these
# seeds are trained together, which says nothing about the seconds of one.

# %%
import style
from curves import Curves
from exhibit import Exhibit
from matplotlib import pyplot as plt

style.use()
counts, (*shades, dark) = [3, 5, 10], style.tints("proxprop", 4)
looks = {"backprop": ("BackProp", style.line("sgd"))}
looks |= {f"cg{n}": (f"ProxProp (cg{n})", look) for n, look in zip(counts, shades, strict=True)}
looks |= {"exact": ("ProxProp (exact)", dark)}
looks |= {f"released-cg{n}": (f"ProxProp (released cg{n})", look) for n, look in zip(counts, shades, strict=True)}
curves = Curves(Exhibit("p-fig2"), looks, symbols={"eta": "τ"})

# %%
metrics = ["train_loss", "validation_accuracy", "test_accuracy"]
figure, panels = plt.subplots(2, 3, figsize=(style.WIDTH, 5), sharex=True, sharey="col")
for row, prefix, kind in zip(panels, ("", "released-"), ("correct CG", "released CG"), strict=True):
    for ax, metric in zip(row, metrics, strict=True):
        curves.panel(ax, metric, ["backprop", *(f"{prefix}cg{n}" for n in counts), "exact"], named=not prefix)
        ax.set(xlabel="epoch" if prefix else "")
    row[0].set_ylabel(f"{kind}\n{row[0].get_ylabel()}")
style.letter(panels.ravel())
curves.legend(figure)

# %% The numbers, and what the released CG changes, seed by seed
caption = (
    "Training loss, validation accuracy and test accuracy per epoch of CIFAR-10 for BackProp and for ProxProp with 3, 5 and 10 CG "
    "steps and with the exact step; above a correct CG, below the authors' released one."
)
pairs = {f"released-cg{n}": f"cg{n}" for n in counts}
table = curves.save(caption, figure, curves.quantities(*metrics), pairs=pairs)
print(table.markdown())
