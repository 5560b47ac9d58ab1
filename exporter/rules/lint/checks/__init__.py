"""The checks, one a module; `exporter.rules.lint.registry` lists them all."""
