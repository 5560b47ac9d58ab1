"""Templates of labels and annotations. That they agree with Prometheus is tested against promtool."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from exporter.rules.templates.template import Template, TemplateRefused

LABELS = {"participant": "12345678", "policy": "ENTRIES_WRITE", "__name__": "dict_rate_limit_capacity"}
FAILED = "<error expanding template: error executing template __alert_Low: template: __alert_Low:{}>"


def expanded(text: str, value: float = 85.5) -> str:
    return Template(text, "Low").expand(LABELS, value)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("no template", "no template"),
        ("", ""),
        ("{{ $labels.policy }} of {{ .Labels.participant }}", "ENTRIES_WRITE of 12345678"),
        ("{{ $value }} {{ .Value }} {{ $.Value }}", "85.5 85.5 85.5"),
        ("[{{ $labels.nothing }}]", "[]"),
        ("{{ $labels.__name__ }}", "dict_rate_limit_capacity"),
        ("{{ if gt $value 90.0 }}a{{ else if gt $value 80.0 }}b{{ else }}c{{ end }}", "b"),
        ("{{ if lt $value 80.0 }}a{{ else if lt $value 81.0 }}b{{ else }}c{{ end }}", "c"),
        ('{{ if and (gt $value 80.0) (not (eq $labels.policy "X")) }}a{{ end }}', "a"),
        ('{{ if or (gt $value 90.0) (ne $labels.policy "X") }}a{{ end }}', "a"),
        ("a  {{- $value -}}  b", "a85.5b"),
        ("a {{- /* never seen */ -}} b", "ab"),
        ('{{ $value | printf "%.0f" }} {{ printf "%s=%d" "n" 5 }}', "86 n=5"),
        ("{{ $value | humanize }} {{ humanizeDuration 3700.0 }}", "85.5 1h 1m 40s"),
        ("{{ humanizePercentage 0.256 }} {{ humanize1024 2048 }}", "25.6% 2ki"),
        ("{{ humanizeTimestamp 1700000000.5 }}", "2023-11-14 22:13:20.5 +0000 UTC"),
        ('{{ toUpper "é" }} {{ $labels.policy | toLower | len }}', "É 13"),
        ('{{ reReplaceAll "(.*)_(.*)" "$2 $1" $labels.policy }}', "WRITE ENTRIES"),
    ],
)  # fmt: skip
def test_texts_are_expanded(text: str, made: str):
    assert expanded(text) == made


@pytest.mark.parametrize(
    ("value", "made"),
    [
        (999999.0, "999999"),
        (1e6, "1e+06"),
        (123456789.0, "1.23456789e+08"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (-0.0, "-0"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
    ],
)
def test_values_are_written_as_go_writes_them(value: float, made: str):
    assert expanded("{{ $value }}", value) == made


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{ gt $value 50 }}",
         '1:115: executing "__alert_Low" at <gt $value 50>: error calling gt: incompatible types for comparison'),
        ("é\n{{ .Labels.policy | lt 5 }}",
         '2:20: executing "__alert_Low" at <lt 5>: error calling lt: incompatible types for comparison'),
        ("{{ title $value }}",
         '1:121: executing "__alert_Low" at <$value>: wrong type for value; expected string; got float64'),
    ],
)  # fmt: skip
def test_a_failure_is_the_text(text: str, told: str):
    assert expanded(text) == FAILED.format(told)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ range .Labels }}{{ end }}", "range is not supported"),
        ("{{ with $value }}{{ end }}", "with is not supported"),
        ('{{ define "x" }}{{ end }}', "define is not supported"),
        ('{{ template "x" }}', "template is not supported"),
        ("{{ $x := 5 }}", "variables of one's own"),
        ("{{ $x }}", "`$x` is not supported: a rule knows $labels and $value"),
        ("{{ $externalLabels }}", "`$externalLabels` is not supported"),
        ("{{ .ExternalURL }}", "`.ExternalURL` is not supported: a rule knows .Labels and .Value"),
        ("{{ . }}", "`.` is not supported"),
        ("{{ $labels.policy.x }}", "`$labels.policy.x` is not supported"),
        ('{{ query "up" }}', "`query` is answered by Prometheus alone"),
        ("{{ externalURL }}", "`externalURL` is answered by Prometheus alone"),
        ("{{ nonsense 1 }}", "`nonsense` is not a function of templates"),
        ("{{ title 5 }}", "title wants text, not 5"),
        ("{{ humanize }}", "humanize wants 1 arguments, not 0"),
        ("{{ printf }}", "printf wants at least 1 arguments, not 0"),
        ("{{ printf $labels.policy }}", "the format of printf must be written out"),
        ('{{ printf "%x" $value }}', "`%x` is not supported in a format"),
        ("{{ print title }}", "a function as an argument needs parentheses"),
        ("{{ if true }}", "an {{if}} has no {{end}}"),
        ("{{ if true }}{{ else }}", "an {{if}} has no {{end}}"),
        ("{{ if true }}{{ else }}{{ else }}{{ end }}", "expected end; found {{else}}"),
        ("{{ end }}", "unexpected {{end}}"),
        ("{{ if }}{{ end }}", "missing value for if"),
        ("{{ $value", "unclosed action"),
        ('{{ "x }}', "a quoted string is not closed"),
        ("{{ 'x' }}", "single quotes"),
        ("{{/* x", "unclosed comment"),
        ("{{ /* x */ }}", "unexpected `/` in command"),
        ("{{/* x */  -}}", "a comment ends before the closing braces"),
        ("{{/*/}}", "unclosed comment"),
        ('{{if"a"}}{{end}}', "unexpected"),
        ("{{ 9223372036854775808 }}", "is not a number that is supported"),
        ("{{ " + "9" * 5000 + " }}", "is not a number that is supported"),
        ("{{ 1e999 }}", "is not a number that is supported"),
        ('{{ "\\ud800" }}', "is not a character that is supported"),
        ('{{ "\\U00110000" }}', "is not a character that is supported"),
        ('{{ "\\x00" }}', "is not a character that is supported"),
        ('{{ printf "%10000d" 1 }}', "is not supported in a format"),
        ('{{ printf "%.10000f" $value }}', "is not supported in a format"),
        ("{{ $value ) }}", "unexpected `)` in command"),
        ("{{ ($value }}", "unclosed left paren"),
        ("{{ ($labels).policy }}", "no such field"),
        ("{{ 1 | 2 }}", "non executable command in pipeline stage 2"),
        ("{{ $value 1 }}", "can't give argument to non-function `$value`"),
        ("{{ 1x }}", "`1x` is not a number that is supported"),
        ("{{ 010 }}", "`010` is not a number that is supported"),
        ('{{ "\\q" }}', "is not an escape"),
        ("{{ nil }}", "`nil` is not supported"),
        ('{{ 1"a" }}', 'unexpected `"a"` in operand'),
        ("{{ # }}", "unexpected `#` in command"),
    ],
)  # fmt: skip
def test_other_templates_are_refused(text: str, why: str):
    with pytest.raises(TemplateRefused) as refused:
        Template(text, "Low")

    assert why in str(refused.value)


def test_a_template_tells_what_it_asks_for():
    template = Template("{{ if $labels.policy }}{{ .Labels.participant }}{{ $value }}{{ end }}", "Low")

    assert template.labels == {"policy", "participant"}
    assert template.uses_value
    assert not Template("{{ $labels.policy }}", "Low").uses_value
    assert Template("text", "Low").is_constant


def test_texts_come_out_as_recorded_from_promtool():
    recorded = yaml.safe_load(Path(__file__).with_name("expanded.yml").read_text())
    labels = {**LABELS, "instance": "host.example:9862", "odd": 'a"b\\c é', "__name__": "sample"}

    made = [(r["text"], r["value"], Template(r["text"], "Low").expand(labels, r["value"])) for r in recorded]

    assert [text for _, _, text in made] == [r["made"] for r in recorded]
