# %% [markdown]
# # I, Figure 3: SIBP, ProxBP and SGD on CIFAR-10
# Training loss, training accuracy and validation accuracy per epoch, from the runs of A's Figure 2, which also train SGD.

# %%
import style
from curves import Curves
from exhibit import Exhibit

style.use()
curves = Curves(Exhibit("i-fig3"), ["sibp", "proxbp", "sgd"])
figure = curves.draw("train_loss", "train_accuracy", "validation_accuracy")

# %%
caption = "Training loss, training accuracy and validation accuracy per epoch of CIFAR-10."
table = curves.save(caption, figure, curves.quantities("train_loss", "train_accuracy", "validation_accuracy"))
print(table.markdown())
