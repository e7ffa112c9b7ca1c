"""Measuring checkpoints: answers, memorisation, hidden states, and what attacks bring back."""
