"""Several processes that paint one picture, a band of rows each."""
