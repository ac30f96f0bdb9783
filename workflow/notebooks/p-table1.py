# %% [markdown]
# # P, Table 1: the loss after fifty epochs over six orders of magnitude of the step size
# Loss over the whole training set for BackProp and for ProxProp with 1, 3 and 5 conjugate gradient steps; the columns are τ.

# %%
from comparison import long_form, table
from exhibit import Exhibit

exhibit = Exhibit("p-table1")
data = long_form(exhibit)
data

# %%
caption = exhibit.caption(
    "Loss over the training set after the last epoch for different step sizes τ (columns); bold: our lowest in a column; "
    "–: all seeds diverged, k of n –: k of n seeds did and the mean is over the others."
)
shown = table(exhibit, data, caption)
exhibit.save(caption, shown, data)
print(shown.markdown())
