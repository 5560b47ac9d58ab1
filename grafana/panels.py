"""The vocabulary of the dashboards: queries, panels, variables and links, laid out alike.

Colours and thresholds are those of the alert rules: warning at 20 % of tokens
remaining, critical at 10 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from grafana_foundation_sdk.builders import barchart, common, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.builders import prometheus as prom
from grafana_foundation_sdk.cog import builder, variants
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prom_models

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PROMETHEUS: Final = models.DataSourceRef(type_val="prometheus", uid="dict-rate-limit-prometheus")
POSTGRES: Final = models.DataSourceRef(type_val="grafana-postgresql-datasource", uid="dict-rate-limit-postgres")
MIXED: Final = models.DataSourceRef(type_val="datasource", uid="-- Mixed --")

OVERVIEW: Final = "dict-rate-limit-overview"
BUCKET: Final = "dict-rate-limit-bucket"
CAPACITY: Final = "dict-rate-limit-capacity"
HEALTH: Final = "dict-rate-limit-health"

WARNING_PERCENT_LEFT: Final = 20.0
CRITICAL_PERCENT_LEFT: Final = 10.0

REMAINING: Final = ((None, "red"), (CRITICAL_PERCENT_LEFT, "orange"), (WARNING_PERCENT_LEFT, "green"))
"""Percent of tokens left."""
TIME_LEFT: Final = ((None, "red"), (300.0, "orange"), (1800.0, "green"))
"""Seconds to an empty bucket."""
REFUSED: Final = ((None, "text"), (1e-9, "red"))
"""A share of calls that were refused."""
TOKENS: Final = "locale"
"""The unit of tokens: every digit, as 1,499 and not 1 K."""
NEUTRAL: Final = ((None, "text"),)
SEVERITIES: Final = {"critical": "red", "warning": "orange", "info": "blue"}
"""Colours, the worst first."""

Steps = tuple[tuple[float | None, str], ...]
Target = builder.Builder[variants.Dataquery]
Panel = builder.Builder[models.Panel]


class _Sql(variants.Dataquery):
    """A query of the PostgreSQL data source, for which the SDK has no builder."""

    def __init__(self, ref_id: str, sql: str, *, series: bool) -> None:
        self.ref_id = ref_id
        self._sql = sql
        self._series = series

    def to_json(self) -> dict[str, object]:
        return {
            "refId": self.ref_id,
            "datasource": POSTGRES,
            "editorMode": "code",
            "format": "time_series" if self._series else "table",
            "rawQuery": True,
            "rawSql": self._sql,
        }


@dataclass(frozen=True, slots=True)
class _Built(builder.Builder[Any]):
    value: Any

    def build(self) -> Any:
        return self.value


def promql(expr: str, legend: str = "", *, ref: str = "A") -> prom.Dataquery:
    """Returns a query over time."""
    return prom.Dataquery().expr(expr).ref_id(ref).datasource(PROMETHEUS).legend_format(legend).range()


def latest(expr: str, legend: str = "", *, ref: str = "A", rows: bool = False) -> prom.Dataquery:
    """Returns a query at the end of the time range: one value per series, or (``rows``) one row."""
    query = prom.Dataquery().expr(expr).ref_id(ref).datasource(PROMETHEUS).legend_format(legend).instant()
    return query.format(prom_models.PromQueryFormat.TABLE if rows else prom_models.PromQueryFormat.TIME_SERIES)


def sql(text: str, *, ref: str = "A", series: bool = False) -> Target:
    """Returns a query of PostgreSQL; ``series`` where it selects ``time`` and numbers."""
    return _Built(_Sql(ref, " ".join(text.split()), series=series))


def sql_annotation(name: str, text: str, colour: str) -> builder.Builder[models.AnnotationQuery]:
    """Returns annotations from PostgreSQL: columns ``time``, ``timeend``, ``text``, ``tags``."""

    class Annotation(models.AnnotationQuery):
        def to_json(self) -> dict[str, object]:
            return {**super().to_json(), "target": _Sql("Anno", " ".join(text.split()), series=False)}

    return _Built(Annotation(name=name, datasource=POSTGRES, icon_color=colour))


def thresholds(steps: Steps) -> board.ThresholdsConfig:
    return (
        board.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=colour) for value, colour in steps])
    )


def big_number(
    title: str,
    expr: str,
    *,
    unit: str = "short",
    steps: Steps = NEUTRAL,
    span: int = 4,
    decimals: int | None = None,
    no_value: str | None = None,
    description: str = "",
    name: str = "",
    texts: dict[str, tuple[str, str]] | None = None,
) -> stat.Panel:
    """Returns a panel of one figure. ``texts``: value → (text, colour); ``name``: a legend in the figure's place.

    It is the figure of now: over a range Grafana would go on showing the last
    one of a series that has ended, such as the projection of a bucket that no
    longer drains.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .height(4)
        .span(span)
        .unit(unit)
        .thresholds(thresholds(steps))
        .color_scheme(board.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .color_mode(kinds.BigValueColorMode.VALUE)
        .graph_mode(kinds.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(latest(expr, name))
    )
    if name:
        panel.text_mode(kinds.BigValueTextMode.NAME)
    if decimals is not None:
        panel.decimals(decimals)
    if no_value is not None:
        panel.no_value(no_value)
    if texts is not None:
        options = {
            key: models.ValueMappingResult(text=text, color=colour, index=i)
            for i, (key, (text, colour)) in enumerate(texts.items())
        }
        panel.mappings([models.ValueMap(options=options)])
    return panel


def graph(
    title: str,
    *targets: Target,
    unit: str = "short",
    span: int = 12,
    height: int = 8,
    description: str = "",
    maximum: float | None = None,
    steps: Steps | None = None,
    no_value: str | None = None,
) -> timeseries.Panel:
    """Returns a graph over time, with a table legend (last and maximum)."""
    sources = {_source(target).uid: _source(target) for target in targets}
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(MIXED if len(sources) > 1 else next(iter(sources.values())))
        .height(height)
        .span(span)
        .unit(unit)
        .min(0)
        .line_width(2)
        .fill_opacity(5)
        .legend(
            common.VizLegendOptions()
            .display_mode(kinds.LegendDisplayMode.TABLE)
            .placement(kinds.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING))
    )
    for target in targets:
        panel.with_target(target)
    if maximum is not None:
        panel.max(maximum)
    if no_value is not None:
        panel.no_value(no_value)
    if steps is not None:
        panel.thresholds(thresholds(steps)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(kinds.GraphTresholdsStyleMode.DASHED)
        )
    return panel


def coloured(colour: str) -> models.DynamicConfigValue:
    """Returns the override that fixes a colour, whatever else is on the panel."""
    return models.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})


def bars(title: str, target: Target, *, span: int = 12, height: int = 8, description: str = "") -> barchart.Panel:
    """Returns stacked bars, one column per severity; the first column names them."""
    panel = (
        barchart.Panel()
        .title(title)
        .description(description)
        .datasource(_source(target))
        .height(height)
        .span(span)
        .unit("short")
        .decimals(0)
        .stacking(kinds.StackingMode.NORMAL)
        .fill_opacity(80)
        .legend(
            common.VizLegendOptions()
            .display_mode(kinds.LegendDisplayMode.LIST)
            .placement(kinds.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
            .calcs(["sum"])
        )
        .with_target(target)
    )
    for severity, colour in SEVERITIES.items():
        panel.override_by_name(severity, [coloured(colour)])
    return panel


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column: ``source`` is its name in the query's answer; ``texts`` are colours of words."""

    source: str
    title: str
    unit: str | None = None
    decimals: int | None = None
    steps: Steps | None = None
    gauge: bool = False
    texts: Mapping[str, str] | None = None
    link: tuple[str, str] | None = None
    width: int | None = None


def rows(
    title: str,
    columns: Iterable[Column],
    *targets: Target,
    span: int = 24,
    height: int = 12,
    sort: str | None = None,
    descending: bool = False,
    description: str = "",
    no_value: str | None = None,
) -> table.Panel:
    """Returns a table of exactly these columns; several queries are joined by their labels."""
    columns = tuple(columns)
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(_source(targets[0]))
        .height(height)
        .span(span)
        .cell_height(kinds.TableCellHeight.SM)
    )
    for target in targets:
        panel.with_target(target)
    if len(targets) > 1:
        panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        models.DataTransformerConfig(
            id_val="filterFieldsByName", options={"include": {"names": [column.source for column in columns]}}
        )
    )
    panel.with_transformation(
        models.DataTransformerConfig(
            id_val="organize",
            options={
                "indexByName": {column.source: i for i, column in enumerate(columns)},
                "renameByName": {column.source: column.title for column in columns},
            },
        )
    )
    for column in columns:
        properties = _properties(column)
        if properties:
            panel.override_by_name(column.title, properties)
    if sort is not None:
        panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(descending)])
    if no_value is not None:
        panel.no_value(no_value)
    return panel


def variable(
    name: str, label: str, query: str, *, many: bool = False, source: models.DataSourceRef | None = None
) -> board.QueryVariable:
    """Returns a variable filled by PromQL's ``label_values`` or (with ``source``) by SQL."""
    made = (
        board.QueryVariable(name)
        .label(label)
        .datasource(source or PROMETHEUS)
        .query(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
    if many:
        made.multi(multi=True).include_all(include_all=True).current(models.VariableOption(text="All", value="$__all"))
    return made


def new(title: str, uid: str, *, since: str, refresh: str = "30s", description: str) -> board.Dashboard:
    """Returns an empty dashboard, linked to the others."""
    return (
        board.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["dict-rate-limit"])
        .timezone("browser")
        .time(since, "now")
        .refresh(refresh)
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            board.DashboardLink("DICT rate limits")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["dict-rate-limit"])
            .as_dropdown(as_dropdown=True)
            .include_vars(include_vars=True)
            .keep_time(keep_time=True)
        )
    )


def _source(target: Target) -> models.DataSourceRef:
    built: Any = target.build()
    return POSTGRES if isinstance(built, _Sql) else PROMETHEUS


def _properties(column: Column) -> list[models.DynamicConfigValue]:
    made: dict[str, object] = {}
    if column.unit is not None:
        made["unit"] = column.unit
    if column.decimals is not None:
        made["decimals"] = column.decimals
    if column.width is not None:
        made["custom.width"] = column.width
    if column.steps is not None:
        made["thresholds"] = thresholds(column.steps).build()
        made["custom.cellOptions"] = {"type": "color-text"}
    if column.texts is not None:
        words = {word: {"color": colour, "index": i} for i, (word, colour) in enumerate(column.texts.items())}
        made["mappings"] = [{"type": "value", "options": words}]
        made["custom.cellOptions"] = {"type": "color-text"}
    if column.gauge:
        made |= {"min": 0, "max": 100, "custom.cellOptions": {"type": "gauge", "mode": "basic"}}
    if column.link is not None:
        made["links"] = [{"title": column.link[0], "url": column.link[1]}]
    return [models.DynamicConfigValue(id_val=name, value=value) for name, value in made.items()]
