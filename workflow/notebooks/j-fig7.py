# %% [markdown]
# # J, Figure 7: how long the first layer's gradient stays small
# Norm of the gradient of the mini-batch's mean loss in the first weights, in the runs of Figure 6. While gradients vanish it is
# small; it peaks when training takes off and falls as the loss does.

# %%
from workflow.figures import style
from workflow.figures.columns import column
from workflow.figures.curves import Curves
from workflow.figures.exhibit import Exhibit

style.use()
NORM = "first_gradient_norm"
curves = Curves(Exhibit("j-fig7"), ["sibp", "sgd"])
figure = curves.draw(NORM, log_axis=True, width=4.6)


# %% The numbers: when the norm peaks, and when it has fallen to a tenth of its peak
columns = [
    column(NORM, "first", head="norm at the start", better=""),
    column(NORM, "highest", head="highest norm", better=""),
    column(NORM, "epochs_to_highest", head="epochs to its peak"),
    column(NORM, "epochs_to_settle", 0.1, head="epochs to a tenth of its peak"),
    column(NORM),
]
table = curves.save("Norm of the first layer's gradient of a mini-batch's mean loss, per epoch.", figure, columns)
print(table.markdown())
