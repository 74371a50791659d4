"""What every program needs and no picture knows. No torch."""
