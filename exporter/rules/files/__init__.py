"""Rule files: YAML read with the line of everything, and compiled, all or nothing."""
