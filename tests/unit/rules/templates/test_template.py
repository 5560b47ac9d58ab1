"""Templates of labels and annotations. That they agree with Prometheus is tested against promtool."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from exporter.rules.templates.lexer import TemplateRefused
from exporter.rules.templates.template import Template
from exporter.rules.templates.values import External

LABELS = {"participant": "12345678", "policy": "ENTRIES_WRITE", "__name__": "dict_rate_limit_capacity"}


def expanded(text: str, value: float = 85.5) -> str:
    return Template(text).expand(LABELS, value)


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
    ("text", "made"),
    [
        ("{{ $externalLabels.region }} {{ .ExternalLabels.region }} {{ $.ExternalLabels.region }}", "here here here"),
        ("{{ $externalLabels }}{{ $externalLabels.nothing }} {{ len .ExternalLabels }}", "map[a:1 region:here] 2"),
        ("{{ $externalURL }} {{ .ExternalURL }} {{ $.ExternalURL }}", "http://x http://x http://x"),
    ],
)
def test_what_is_external_is_the_same_for_all_samples(text: str, made: str):
    assert Template(text).expand(LABELS, 1.0, External({"region": "here", "a": "1"}, "http://x")) == made


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ gt $value 50 }}", "gt: cannot compare float64 and int; write the number with a decimal point, as 50.0"),
        ("é\n{{ .Labels.policy | lt 5 }}", "lt: cannot compare int and string"),
        ("{{ if eq $labels $labels }}{{ end }}", "eq: cannot compare map[string]string and map[string]string"),
        ("{{ title $value }}", "title: expected string, got float64"),
        ("{{ print (humanize $labels.policy) }}", 'humanize: "ENTRIES_WRITE" is not a number'),
        ("{{ humanize true }}", "humanize: expected a number, got bool"),
        ("{{ len $value }}", "len: float64 has no length"),
        ("{{ index $labels 1 }}", "index: expected $labels and a name, got map[string]string and int"),
        ("{{ toTime 1e10 }}", "toTime: 1e+10 is not a time of the years 1678 to 2262"),
        ('{{ parseDuration "x" }}', "parseDuration: 'x' is not a duration; write it as 15s, 5m or 1h30m"),
        ('{{ match "a(" "b" }}', "match: error parsing regexp: missing ): a("),
    ],
)  # fmt: skip
def test_a_failure_is_the_text(text: str, why: str):
    assert expanded(text) == f"<error expanding template: {why}>"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ range .Labels }}{{ end }}", "range is not supported"),
        ("{{ with $value }}{{ end }}{{ . }}", "`.` is not supported"),
        ("{{ with toTime $value }}{{ .Year }}{{ end }}", "`.Year` is not supported: `.` is `toTime` there, which has"),
        ("{{ with $labels.policy }}{{ .Labels }}{{ end }}", "`.` is `$labels.policy` there, which has no such field"),
        ("{{ with $labels }}{{ .policy.x }}{{ end }}", "`.policy.x` is not supported"),
        ("{{ with 1 }}{{ else if 2 }}{{ end }}", "unexpected `if` in else"),
        ("{{ with 1 }}", "{{with}} has no {{end}}"),
        ("{{ toDuration 5 }}", "a function of Prometheus' templates that is not supported here"),
        ("{{ now }}", "answered by Prometheus alone"),
        ('{{ define "x" }}{{ end }}', "define is not supported"),
        ('{{ template "x" }}', "template is not supported"),
        ("{{ $x := 5 }}", "variables of one's own"),
        ("{{ $x }}", "`$x` is not supported: a rule knows $labels, $value, $externalLabels and $externalURL"),
        ("{{ $external }}", "`$external` is not supported: a rule knows $labels, $value, $externalLabels"),
        ("{{ .Externals }}", "`.Externals` is not supported: a rule knows .Labels, .Value, .ExternalLabels and .Ext"),
        ("{{ $externalURL.Host }}", "`$externalURL.Host` is not supported"),
        ("{{ . }}", "`.` is not supported"),
        ("{{ $labels.policy.x }}", "`$labels.policy.x` is not supported"),
        ('{{ query "up" }}', "`query` is answered by Prometheus alone"),
        ("{{ externalURL }}", "`externalURL` is answered by Prometheus alone"),
        ("{{ nonsense 1 }}", "`nonsense` is not a function of templates"),
        ("{{ title 5 }}", "title takes text, not 5"),
        ("{{ humanize }}", "humanize takes 1 argument, not 0"),
        ("{{ printf }}", "printf takes at least 1 argument, not 0"),
        ("{{ printf $labels.policy }}", "the format of printf must be written out"),
        ('{{ printf "%x" $value }}', "`%x` is not supported in a format"),
        ('{{ printf "%+q" $labels.policy }}', "`%+q` is not supported in a format"),
        ('{{ printf "%5.3d" 7 }}', "`%5.3d` is not supported in a format"),
        ('{{ printf "% d" 7 }}', "`% ` is not supported in a format"),
        ("{{ stripDomain $labels.policy }}", "`stripDomain` is a function of Prometheus' templates that is not"),
        ("{{ $labels.policy | urlquery }}", "`urlquery` is a function of Prometheus' templates that is not"),
        ("{{ eq 1 }}", "eq takes at least 2 arguments, not 1"),
        ("{{ print title }}", "a function as an argument needs parentheses"),
        ("{{ if true }}", "{{if}} has no {{end}}"),
        ("{{ if true }}{{ else }}", "{{if}} has no {{end}}"),
        ("{{ if true }}{{ else }}{{ else }}{{ end }}", "expected end; found {{else}}"),
        ("{{ end }}", "unexpected {{end}}"),
        ("{{ if }}{{ end }}", "missing value for if"),
        ("{{ $value", "unclosed action"),
        ('{{ "x }}', "unclosed quotes"),
        ("{{ 'x' }}", "single quotes"),
        ("{{/* x", "unclosed comment"),
        ("{{ /* x */ }}", "unexpected `/` in command"),
        ("{{/* x */  -}}", "unclosed comment"),
        ("{{/*/}}", "unclosed comment"),
        ('{{if"a"}}{{end}}', "unexpected"),
        ("{{ 9223372036854775808 }}", "is not a number that is supported"),
        ("{{ " + "9" * 5000 + " }}", "is not a number that is supported"),
        ("{{ 1e999 }}", "is not a number that is supported"),
        ('{{ "\\ud800" }}', "`\\u` is not an escape of a string that is supported"),
        ('{{ "\\x41" }}', "`\\x` is not an escape of a string that is supported"),
        ('{{ printf "%10000d" 1 }}', "is not supported in a format"),
        ('{{ printf "%.10000f" $value }}', "is not supported in a format"),
        ("{{ $value ) }}", "unexpected `)` in command"),
        ("{{ ($value }}", "unclosed left paren"),
        ("{{ ($labels).policy }}", "unexpected `.policy` in operand"),
        ("{{ 1 | 2 }}", "can't give argument to non-function `2`"),
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
        Template(text)

    assert why in str(refused.value)


def test_a_template_tells_what_it_asks_for():
    template = Template("{{ if $labels.policy }}{{ .Labels.participant }}{{ $value }}{{ end }}")

    assert template.labels == {"policy", "participant"}
    assert template.uses_value
    assert not Template("{{ $labels.policy }}").uses_value
    assert Template("text").is_constant


def test_texts_come_out_as_recorded_from_promtool():
    recorded = yaml.safe_load(Path(__file__).with_name("expanded.yml").read_text())
    labels = {**LABELS, "instance": "host.example:9862", "odd": 'a"b\\c é', "__name__": "sample"}

    made = [(r["text"], r["value"], Template(r["text"]).expand(labels, r["value"])) for r in recorded]

    assert [text for _, _, text in made] == [r["made"] for r in recorded]
