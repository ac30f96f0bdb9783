# %% [markdown]
# # J, Figure 4: ten hidden layers, initial spread 0.01
# Training accuracy and loss per epoch on MNIST. One epoch of BCD is one sweep over all samples. The epoch axis is logarithmic, so
# that both the first quarter of an epoch and BCD's two hundred sweeps are seen.

# %%
import style
from curves import Curves
from exhibit import Exhibit

style.use()
curves = Curves(Exhibit("j-fig4"), ["sibp", "sgd", "proxbp", "bcd"], levels={"train_accuracy": [0.8]})
figure = curves.draw("train_accuracy", "train_loss", log_axis=True)

# %%
caption = "Training accuracy and loss of a net of ten hidden layers started at spread 0.01, per epoch (BCD: per sweep)."
table = curves.save(caption, figure, curves.quantities("train_loss", "train_accuracy", "test_accuracy"))
print(table.markdown())
