"""Questions as turns of a conversation, in the checkpoint's own chat template."""
