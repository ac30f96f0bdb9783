# %% [markdown]
# # A, Figure 2: SIBP, ProxBP and Adam on CIFAR-10
# J's Figure 8 on A's split: 45000 images for training, all others, the test set too, for validation.

# %%
import style
from curves import Curves
from exhibit import Exhibit

style.use()
curves = Curves(Exhibit("a-fig2"), ["sibp", "proxbp", "adam"])
figure = curves.draw("train_loss", "train_accuracy", "validation_accuracy")

# %%
caption = "Training loss, training accuracy and validation accuracy per epoch of CIFAR-10."
table = curves.save(caption, figure, curves.quantities("train_loss", "train_accuracy", "validation_accuracy"))
print(table.markdown())
