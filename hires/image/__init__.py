"""Pictures: files to tensors and back, their colours, transparency and metadata."""
