# %% [markdown]
# # A, Figure 3: SIBP and gradient methods on a wide net
# Training and validation accuracy per epoch of CIFAR-10 for the net 3072-4000-1000-4000-10.

# %%
import style
from curves import Curves
from exhibit import Exhibit

style.use()
curves = Curves(Exhibit("a-fig3"), ["sibp", "sgd", "adam", "rmsprop"])
figure = curves.draw("train_accuracy", "validation_accuracy")

# %%
caption = "Training and validation accuracy of a wide net per epoch of CIFAR-10."
table = curves.save(caption, figure, curves.quantities("train_loss", "train_accuracy", "validation_accuracy"))
print(table.markdown())
