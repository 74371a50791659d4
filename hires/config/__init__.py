"""What can be asked for: dataclasses with defaults, allowed values and help. No torch."""
