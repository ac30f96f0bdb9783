# %% [markdown]
# # A, Figure 4: ten hidden layers against seconds
# Training and validation accuracy on MNIST against seconds of training; evaluations are not counted, and each run has the device
# to itself. The paper names no accuracy; half of the training samples right is what we count to.

# %%
import style
from curves import Curves
from exhibit import Exhibit

style.use()
curves = Curves(Exhibit("a-fig4"), ["sibp", "sgd", "adam"], axis="seconds", levels={"train_accuracy": [0.5]})
figure = curves.draw("train_accuracy", "validation_accuracy")

# %%
caption = "Training and validation accuracy of a net of ten hidden layers against seconds of training."
table = curves.save(caption, figure, curves.quantities("train_accuracy", "validation_accuracy"))
print(table.markdown())
