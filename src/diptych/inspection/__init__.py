"""Looking inside: what a model finds, why, and how its space is laid out, as numbers and pictures.

Everything here works on a saved model through its vectors; nothing needs PyTorch.
"""
