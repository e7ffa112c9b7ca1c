"""Running a hooked model: in parts, without what is not needed, and token by token."""
