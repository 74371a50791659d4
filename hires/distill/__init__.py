"""How the compact network was made."""
