# %% [markdown]
# # J, Figure 8: SIBP, ProxBP and Adam on CIFAR-10
# Training loss, training accuracy and test accuracy per epoch of a fully connected net, 3072-2000-500-10.

# %%
import style
from curves import Curves
from exhibit import Exhibit

style.use()
curves = Curves(Exhibit("j-fig8"), ["sibp", "proxbp", "adam"])
figure = curves.draw("train_loss", "train_accuracy", "test_accuracy")

# %%
caption = "Training loss, training accuracy and test accuracy per epoch of CIFAR-10."
table = curves.save(caption, figure, curves.quantities("train_loss", "train_accuracy", "test_accuracy"))
print(table.markdown())
