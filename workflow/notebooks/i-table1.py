# %% [markdown]
# # I, Table 1: step sizes after two epochs of MNIST
# Train and validation accuracy after the last epoch. The columns are the step size that the row names; the papers' 1/λ is our λ.
# Drawn from the runs of a-table1. A's and I's tables are the same but for SGD at step size 1; the last lines of the
# caption say which of them our runs support.

# %%
from comparison import long_form, settle, table
from exhibit import Exhibit

exhibit = Exhibit("i-table1")
data = long_form(exhibit)
data

# %%
caption = exhibit.caption(
    "Train / validation accuracy after the last epoch for different step sizes; bold: our best in a column; "
    f"–: all seeds diverged, k of n –: k of n seeds did and the mean is over the others. {settle(exhibit)}"
)
shown = table(exhibit, data, caption)
exhibit.save(caption, shown, data)
print(shown.markdown())
