"""Results of rule unit tests, written as promtool writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import unified_diff
from xml.etree.ElementTree import Element, SubElement, tostring


@dataclass(frozen=True, slots=True)
class TestFailure:
    """A failed test. ``expected`` and ``got`` are empty where it is not about a difference."""

    __test__ = False

    headline: str
    expected: str = ""
    got: str = ""
    separator: str = ""

    def render(self, *, diff: bool = False) -> str:
        """Returns promtool's lines, or a diff of the two sides."""
        if not self.expected and not self.got:
            return f"{self.headline}\n"
        if not diff:
            return f"{self.headline}\n        exp:{self.expected}{self.separator}\n        got:{self.got}\n"
        lines = unified_diff(self.expected.splitlines(), self.got.splitlines(), "exp", "got", lineterm="", n=100)
        return "\n".join([self.headline, *(f"        {line}" for line in lines), ""])


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The result of one test of a file: no failures is success."""

    name: str
    failures: tuple[TestFailure, ...]


@dataclass(frozen=True, slots=True)
class TestResult:
    """The result of a test file; ``error`` says why its tests could not be run."""

    __test__ = False

    file: str
    cases: tuple[CaseResult, ...]
    error: str = ""

    @property
    def failures(self) -> tuple[TestFailure, ...]:
        error = (TestFailure(self.error),) if self.error else ()
        return (*error, *(failure for case in self.cases for failure in case.failures))

    @property
    def passed(self) -> bool:
        return not self.failures

    def render(self, *, diff: bool = False) -> str:
        """Returns promtool's lines for the file."""
        if self.passed:
            return f"Processing test file: {self.file}\n  SUCCESS\n\n"
        failures = "\n".join(failure.render(diff=diff) for failure in self.failures)
        return f"Processing test file: {self.file}\n  FAILED:\n{failures}\n\n"


def junit(results: Sequence[TestResult], at: datetime) -> str:
    """Returns the results as JUnit XML, as promtool writes it; ``at`` is when the tests were run."""
    suites = Element("testsuites")
    for result in results:
        suite = SubElement(suites, "testsuite", name=result.file)
        suite.set("tests", str(len(result.cases)))
        suite.set("failures", str(len(result.failures) - bool(result.error)))
        suite.set("errors", str(int(bool(result.error))))
        suite.set("skipped", "0")
        suite.set("timestamp", at.strftime("%Y-%m-%dT%H:%M:%S"))
        if result.error:
            SubElement(SubElement(suite, "testcase", name="unknown"), "error").text = result.error
        for case in result.cases:
            element = SubElement(suite, "testcase", name=case.name)
            for failure in case.failures:
                SubElement(element, "failure").text = failure.render().strip("\n")
    return tostring(suites, encoding="unicode")
