# %% [markdown]
# # J, Figure 11: two thousand images of FashionMNIST
# Training loss, training accuracy and test accuracy per epoch; one epoch of BCD is one sweep over all samples.

# %%
import style
from curves import Curves
from exhibit import Exhibit

style.use()
curves = Curves(Exhibit("j-fig11"), ["sibp", "sgd", "proxbp", "bcd"])
figure = curves.draw("train_loss", "train_accuracy", "test_accuracy", log_axis=True)

# %%
caption = "Training loss, training accuracy and test accuracy with 2000 images of FashionMNIST, per epoch (BCD: per sweep)."
table = curves.save(caption, figure, curves.quantities("train_loss", "train_accuracy", "test_accuracy"))
print(table.markdown())
