"""The checks, one a module; `exporter.rules.lint.linter` lists them all."""
