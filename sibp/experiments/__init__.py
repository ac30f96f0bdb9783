"""Experiment and scale files, read and checked, and the training jobs that follow from them. Imports no torch."""
