# %% [markdown]
# # J, Figure 10: ten thousand images of MNIST
# Training loss, training accuracy and test accuracy per epoch; one epoch of BCD is one sweep over all samples. The paper speaks of
# 100 % training accuracy; 0.999, at most ten images wrong, is what we count to.

# %%
import style
from curves import Curves
from exhibit import Exhibit

style.use()
curves = Curves(Exhibit("j-fig10"), ["sibp", "sgd", "proxbp", "bcd"], levels={"train_accuracy": [0.999]})
figure = curves.draw("train_loss", "train_accuracy", "test_accuracy", log_axis=True)

# %%
caption = "Training loss, training accuracy and test accuracy with 10000 images of MNIST, per epoch (BCD: per sweep)."
table = curves.save(caption, figure, curves.quantities("train_loss", "train_accuracy", "test_accuracy"))
print(table.markdown())
