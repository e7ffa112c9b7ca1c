"""From micro-batches to gradients."""
