# %% [markdown]
# # J, Figure 13: how many nonlinear conjugate gradient steps pay
# Training and test accuracy on CIFAR-10 against seconds of training, for SIBP with 1 to 20 steps in each subproblem. The net is
# 3072-4000-1000-4000-10. The table compares them after a quarter, a half and all of the shared time.

# %%
import style
from curves import Curves
from exhibit import Exhibit
from quantities import best, within

style.use()
exhibit, counts = Exhibit("j-fig13"), [1, 3, 5, 10, 20]
looks = zip(counts, style.tints("sibp", len(counts)), strict=True)
curves = Curves(exhibit, {f"sibp-{n}": (f"SIBP, {n} step{'s'[: n > 1]}", look) for n, look in looks}, axis="seconds")
figure = curves.draw("train_accuracy", "test_accuracy")

# %%
shared = exhibit.runs.groupby(["method", "member"])["seconds"].max().min()
asked = [within("train_accuracy", share * shared) for share in (0.25, 0.5, 1)] + [best("test_accuracy")]
caption = "Training and test accuracy against seconds of training, for several numbers of nonlinear CG steps."
table = curves.save(caption, figure, asked)
print(table.markdown())
