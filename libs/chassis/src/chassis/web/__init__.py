"""What the pages of every service share: the layout, the guard in front of them, and the operator's console."""
