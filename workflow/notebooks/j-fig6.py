# %% [markdown]
# # J, Figure 6: ten hidden layers, initial spread 0.03
# As Figure 4, with weights from which SGD trains, too. The paper names 100 %; 0.9 and 0.99 are what we count to.

# %%
import style
from curves import Curves
from exhibit import Exhibit

style.use()
curves = Curves(Exhibit("j-fig6"), ["sibp", "sgd", "proxbp", "bcd"], levels={"train_accuracy": [0.9, 0.99]})
figure = curves.draw("train_accuracy", "train_loss", log_axis=True)

# %%
caption = "Training accuracy and loss of a net of ten hidden layers started at spread 0.03, per epoch (BCD: per sweep)."
table = curves.save(caption, figure, curves.quantities("train_loss", "train_accuracy", "test_accuracy"))
print(table.markdown())
