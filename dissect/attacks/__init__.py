"""What brings knowledge back that seemed forgotten: one file an attack, and none sees a tested fact."""
