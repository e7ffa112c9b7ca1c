"""Gradients of micro-batches and steps."""
