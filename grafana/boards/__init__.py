"""One module per dashboard; each has ``dashboard()``."""
