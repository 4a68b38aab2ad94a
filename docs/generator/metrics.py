"""`metrics.md`: from the metrics of `syncd.telemetry.metrics`."""

from __future__ import annotations

from prometheus_client.metrics import MetricWrapperBase

from generator.text import code, head, table
from syncd.telemetry import metrics

_METRICS_INTRO = """\
`GET /metrics` shows them in the text format of Prometheus. Every series of a contract exists from the start, at 0, and
disappears when its contract is removed; series of `syncd_index_failures` and `syncd_index_taken` exist once their index
does, one of `syncd_field_misfits_total` once a value did not fit. A histogram has `_bucket`, `_sum` and `_count`.

`syncd_lag_seconds` and `syncd_end_to_end_seconds` compare the clock of MongoDB's host with that of syncd's host.

"""
_CONTRACT = "movies"


def metrics_page() -> str:
    """Every metric."""
    metrics.contract_known(_CONTRACT, 1.0, store="both")
    try:
        rows = [_metric_row(metric) for metric in metrics.REGISTRY.metrics]
    finally:
        metrics.contract_gone(_CONTRACT)
    text = head("Metrics", "`syncd/telemetry/metrics.py`") + _METRICS_INTRO
    return text + table(("metric", "type", "labels", "description"), rows)


def _metric_row(metric: MetricWrapperBase) -> tuple[str, ...]:
    family = next(iter(metric.collect()))
    name = family.name + ("_total" if family.type == "counter" else "")
    values: dict[str, dict[str, None]] = {label: {} for label in metrics.labels_of(metric)}
    for sample in family.samples:
        for label in values.keys() & sample.labels.keys():
            values[label][sample.labels[label]] = None
    return code(name), family.type, "; ".join(map(_label, values.items())), family.documentation


def _label(item: tuple[str, dict[str, None]]) -> str:
    """A label with its values, where these are few and known."""
    label, values = item
    known = [value for value in values if value]
    open_ended = label in ("contract", "index", "version")
    return code(label) if open_ended or not known else f"{code(label)}: {', '.join(known)}"
