"""What file formats hold, and their bytes."""
