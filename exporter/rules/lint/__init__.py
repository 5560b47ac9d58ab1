"""Checks of rule files that load: `rules check`. `registry` lists them all."""
