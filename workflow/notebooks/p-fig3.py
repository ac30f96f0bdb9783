# %% [markdown]
# # P, Figure 3: ProxProp's direction in Adam
# Training loss, validation accuracy and test accuracy per epoch of a convolutional net on CIFAR-10. Adam steps along the gradient
# (BackProp) or along ProxProp's direction, with the conjugate gradient (CG) of the authors' released program or a correct one.

# %%
import style
from curves import Curves
from exhibit import Exhibit

style.use()
light, middle, dark = style.tints("proxprop", 3)
looks = {
    "backprop": ("BackProp", style.line("adam")),
    "cg3": ("ProxProp (released cg3)", light),
    "cg10": ("ProxProp (released cg10)", middle),
    "paper-cg3": ("ProxProp (cg3)", dark),
}
curves = Curves(Exhibit("p-fig3"), looks, symbols={"eta": "τ"})
figure = curves.draw("train_loss", "validation_accuracy", "test_accuracy")

# %%
caption = "Training loss, validation accuracy and test accuracy of a convolutional net per epoch of CIFAR-10, all with Adam."
asked = curves.quantities("train_loss", "validation_accuracy", "test_accuracy")
table = curves.save(caption, figure, asked, pairs={"cg3": "paper-cg3"})
print(table.markdown())
