"""What a file says of a picture beside its pixels: XMP, author and owner, how it was made."""
