"""What brings knowledge back that seemed forgotten: one file each."""
