"""YAML as people write it, read strictly: each key once, one document, and no larger than such a file needs to be.

Merge keys (``<<``) are resolved: a mapping's own keys go before those it merges, and of a list of mappings
the first one that has a key.
"""

from exporter.yaml_text.nodes import NULL, Mapping, all_repeated, is_merge, line_of, mappings
from exporter.yaml_text.reading import Document, Texts, compose, construct, document, read

__all__ = [
    "NULL",
    "Document",
    "Mapping",
    "Texts",
    "all_repeated",
    "compose",
    "construct",
    "document",
    "is_merge",
    "line_of",
    "mappings",
    "read",
]
