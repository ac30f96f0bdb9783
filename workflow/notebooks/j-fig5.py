# %% [markdown]
# # J, Figure 5: ten hidden layers, initial spread 0.025
# As Figure 4, with larger initial weights. The paper names no accuracy; half of the training samples right is what we count to.

# %%
import style
from curves import Curves
from exhibit import Exhibit

style.use()
curves = Curves(Exhibit("j-fig5"), ["sibp", "sgd", "proxbp", "bcd"], levels={"train_accuracy": [0.5]})
figure = curves.draw("train_accuracy", "train_loss", log_axis=True)

# %%
caption = "Training accuracy and loss of a net of ten hidden layers started at spread 0.025, per epoch (BCD: per sweep)."
table = curves.save(caption, figure, curves.quantities("train_loss", "train_accuracy", "test_accuracy"))
print(table.markdown())
