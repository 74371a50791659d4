"""What moves a canvas."""
