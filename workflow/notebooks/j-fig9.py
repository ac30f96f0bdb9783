# %% [markdown]
# # J, Figure 9: SIBP and Adam on a convolutional net
# Training loss, training accuracy and test accuracy per epoch of CIFAR-10. SIBP-1 and SIBP-2 are the paper's names for SIBP with
# step size η = 0.5 and η = 1.

# %%
import style
from curves import Curves
from exhibit import Exhibit

style.use()
first, second = style.tints("sibp", 2)
looks = {"sibp-1": ("SIBP-1", first), "sibp-2": ("SIBP-2", second), "adam": ("Adam", style.line("adam"))}
curves = Curves(Exhibit("j-fig9"), looks)
figure = curves.draw("train_loss", "train_accuracy", "test_accuracy")

# %%
caption = "Training loss, training accuracy and test accuracy of a convolutional net per epoch of CIFAR-10."
table = curves.save(caption, figure, curves.quantities("train_loss", "train_accuracy", "test_accuracy"))
print(table.markdown())
