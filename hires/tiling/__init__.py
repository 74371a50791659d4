"""Where a canvas is cut, what neighbouring tiles hand to each other, which tiles fit the memory."""
