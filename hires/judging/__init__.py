"""What a painting is like, beside its photograph and its style: measures that no loss asks for."""
