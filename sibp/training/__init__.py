"""Training one label of an experiment: samples, the loop, evaluation, checkpoints, CUDA graphs and the queue for a GPU."""
