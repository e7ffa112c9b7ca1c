"""Results gathered on one HTML page."""
