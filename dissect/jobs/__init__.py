"""Jobs that can be interrupted, continued and shared by several processes."""
