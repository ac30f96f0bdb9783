"""The most kernels that a step may launch on a CUDA device, by variant and network; whoever makes a step cheaper lowers its line.

Counted on fake tensors with one member and eight samples; neither number may matter, see `PER_IMAGE` and `PER_MEMBER`. Goals: 40 for SGD
and 110 for SIBP (``newton`` and ``armijo``, five conjugate gradient steps) on 784-500-10, 450 for SIBP on 784-600x10-10.
"""

from sibp.nets import papers

NETWORKS = {
    "784-500-10": papers.mlp([784, 500, 10]),
    "784-600x10-10": papers.mlp([784, *[600] * 10, 10]),
    "cnn": papers.cnn((3, 8, 8), channels=(4, 5), pools=2, classes=5),
}
PER_IMAGE = {
    "784-500-10": 0,
    "cnn": 2,
}  # for each further image: torch's unfold launches one; goal 0
PER_MEMBER = {"bcd": 214}  # for each further member: bcd works on one after another

BUDGETS = {
    ("sgd", "784-500-10"): 74,
    ("sgd", "784-600x10-10"): 173,
    ("sgd", "cnn"): 192,
    ("sgd momentum=0.5", "784-500-10"): 84,
    ("sgd momentum=0.5", "cnn"): 208,
    ("sgd momentum=0.5 nesterov=True", "784-500-10"): 92,
    ("sgd momentum=0.5 nesterov=True", "cnn"): 220,
    ("sgd l1=0.001", "784-500-10"): 88,
    ("sgd l1=0.001", "cnn"): 214,
    ("adam", "784-500-10"): 123,
    ("adam", "cnn"): 261,
    ("rmsprop", "784-500-10"): 100,
    ("rmsprop", "cnn"): 232,
    ("rmsprop momentum=0.5", "784-500-10"): 108,
    ("rmsprop momentum=0.5", "cnn"): 244,
    ("proxprop", "784-500-10"): 197,
    ("proxprop", "cnn"): 433,
    ("proxprop solver=exact", "784-500-10"): 133,
    ("proxprop solver=exact", "cnn"): 302,
    ("proxprop solver=gradient", "784-500-10"): 92,
    ("proxprop solver=gradient", "cnn"): 220,
    ("proxprop variant=released", "784-500-10"): 177,
    ("proxprop variant=released", "cnn"): 392,
    ("proxprop reduction=sum", "784-500-10"): 196,
    ("proxprop reduction=sum", "cnn"): 432,
    ("proxprop space=batch", "784-500-10"): 197,
    ("proxprop space=batch", "cnn"): 430,
    ("proxprop space=weight", "784-500-10"): 200,
    ("proxprop space=weight", "cnn"): 436,
    ("proxprop optimizer=adam", "784-500-10"): 228,
    ("proxprop optimizer=adam", "cnn"): 474,
    ("proxprop optimizer=rmsprop", "784-500-10"): 205,
    ("proxprop optimizer=rmsprop", "cnn"): 445,
    ("proxprop optimizer=adam momentum=0.0", "784-500-10"): 228,
    ("proxprop optimizer=adam momentum=0.0", "cnn"): 474,
    ("proxprop nesterov=False", "784-500-10"): 189,
    ("proxprop nesterov=False", "cnn"): 421,
    ("proxbp", "784-500-10"): 397,
    ("proxbp", "cnn"): 682,
    ("proxbp solver=exact", "784-500-10"): 149,
    ("proxbp solver=exact", "cnn"): 306,
    ("proxbp space=batch", "784-500-10"): 397,
    ("proxbp space=batch", "cnn"): 678,
    ("proxbp space=weight", "784-500-10"): 405,
    ("proxbp space=weight", "cnn"): 690,
    ("bcd", "784-500-10"): 237,
    ("sibp", "784-500-10"): 2554,
    ("sibp", "784-600x10-10"): 14380,
    ("sibp", "cnn"): 3978,
    ("sibp variant=armijo", "784-500-10"): 1754,
    ("sibp variant=armijo", "784-600x10-10"): 9710,
    ("sibp variant=armijo", "cnn"): 2748,
    ("sibp variant=released", "784-500-10"): 2014,
    ("sibp variant=released", "cnn"): 3302,
    ("sibp variant=released-rowwise", "784-500-10"): 1898,
    ("sibp variant=released-rowwise", "cnn"): 2964,
    ("sibp space=batch", "784-500-10"): 2554,
    ("sibp space=batch", "cnn"): 3975,
    ("sibp space=weight", "784-500-10"): 2560,
    ("sibp space=weight", "cnn"): 3984,
    ("sibp l1=0.001", "784-500-10"): 4652,
    ("sibp l1=0.001", "cnn"): 7167,
}
