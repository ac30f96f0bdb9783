# %% [markdown]
# # J, Figure 7: how long the first layer's gradient stays small
# Norm of the gradient of the mini-batch's mean loss in the first weights, in the runs of Figure 6. While gradients vanish it is
# small; it peaks when training takes off and falls as the loss does.

# %%
import numpy as np

from workflow.figures import style
from workflow.figures.curves import Curves
from workflow.figures.exhibit import Exhibit
from workflow.figures.quantities import Quantity, last

style.use()
NORM = "first_gradient_norm"
curves = Curves(Exhibit("j-fig7"), ["sibp", "sgd"])
figure = curves.draw(NORM, log_axis=True, width=4.6)


# %% The numbers: when the norm peaks, and when it has fallen to a tenth of its peak
def peak(rows):
    return rows["epoch"][rows[NORM].idxmax()] if rows[NORM].notna().any() else np.nan


def settled(rows):
    below = rows["epoch"][(rows["epoch"] > peak(rows)) & (rows[NORM] <= rows[NORM].max() / 10)]
    return below.iloc[0] if len(below) else np.inf


asked = [
    Quantity(NORM, "start", "norm at the start", lambda rows: rows[NORM].iloc[0], better=""),
    Quantity(NORM, "highest", "highest norm", lambda rows: rows[NORM].max(), better=""),
    Quantity(NORM, "peak", "epochs to its peak", peak, "lower", duration=True),
    Quantity(NORM, "settled", "epochs to a tenth of its peak", settled, "lower", duration=True),
    last(NORM),
]
table = curves.save("Norm of the first layer's gradient of a mini-batch's mean loss, per epoch.", figure, asked)
print(table.markdown())
