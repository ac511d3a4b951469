"""Numbers that models see, computed from windows."""
