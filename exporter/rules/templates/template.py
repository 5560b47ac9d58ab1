"""Labels and annotations with templates, parsed once and expanded for each sample."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.rules.templates.lexer import TemplateRefused
from exporter.rules.templates.nodes import ExpansionFailed, Sample, expand
from exporter.rules.templates.parser import parse

__all__ = ["Template", "TemplateRefused"]


class Template:
    """A text with actions. Raises TemplateRefused where it is not one that rules may use.

    ``labels`` are the names of the sample's labels that it reads, ``uses_value``
    whether it reads the value.
    """

    __slots__ = ("_nodes", "is_constant", "labels", "text", "uses_value")

    def __init__(self, text: str) -> None:
        self.text = text
        self._nodes, references = parse(text)
        self.is_constant = "{{" not in text
        self.uses_value = any(reference.is_value for reference in references)
        self.labels = frozenset(reference.label for reference in references if reference.label is not None)

    def expand(self, labels: Mapping[str, str], value: float) -> str:
        """Returns the text for a sample; where a function fails, the text says which and why."""
        if self.is_constant:
            return self.text
        try:
            return expand(self._nodes, Sample(labels, value))
        except ExpansionFailed as failure:
            return f"<error expanding template: {failure}>"
