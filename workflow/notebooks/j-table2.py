# %% [markdown]
# # J, Table 2: how far the step size may vary on MNIST
# Train and test accuracy after the last epoch, for SGD, ProxBP and SIBP over five orders of magnitude of the step size.
# Each row of the paper has three lines: the paper's numbers, ours (mean over the seeds), and our standard deviation.

# %%
from comparison import long_form, table
from exhibit import Exhibit

exhibit = Exhibit("j-table2")
data = long_form(exhibit)
data

# %%
caption = exhibit.caption(
    "Train / test accuracy after the last epoch for different step sizes (columns: lr for SGD, λ for the others); "
    "bold: our best test accuracy in a column; –: all seeds diverged, k of n –: k of n seeds did and the mean is over the others."
)
shown = table(exhibit, data, caption)
exhibit.save(caption, shown, data)
print(shown.markdown())
