"""What is measured. Each metric is one file here; nothing else needs to change for a new one."""
