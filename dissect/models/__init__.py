"""Checkpoints to hooked models and back: the only room that knows the insides of TransformerLens."""
