"""The sibling tracks MER-Cross, MER-FG and MER-Prefer, over clips of media."""
