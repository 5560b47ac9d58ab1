"""Checks of rule files that load: `rules check`. `linter` lists them all."""
