"""Architectures drawn as stacks of blocks, from boxes that any browser can show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from nas.report.markup import latency, percent, tag, text
from nas.report.stacks import StackBlock
from nas.report.values import FinishedModel, ReportData

BAR = 66
"""Width of the widest box, pixels; the same as in `page.css`."""
NAMES = {
    "stem": "stem convolution",
    "conv": "convolution",
    "inverted_residual": "inverted residual",
    "fused_inverted_residual": "fused inverted residual",
    "depthwise_separable": "depthwise-separable",
    "residual": "residual",
    "shuffle_unit": "ShuffleNetV2 unit",
    "fire": "fire module",
    "head": "head (1 × 1 convolution)",
    "classifier": "pooling and classifier (→ classes)",
}


def stacks(data: ReportData) -> str:
    """Finalists as stacks, baselines behind a fold, and the key to both."""
    models = [model for model in (*data.finalists, *data.baselines) if model.stack]
    if not models:
        return f"<p>The search space {text(data.facts.space)} was not found.</p>"
    widest = max(block.out_channels for model in models for block in model.stack)
    folded = _grid(data.baselines, widest, data)
    baselines = f"<details><summary>Baselines</summary>{folded}</details>"
    return (
        _key(models, data)
        + _grid(data.finalists, widest, data)
        + (baselines if data.baselines else "")
    )


def _grid(models: Sequence[FinishedModel], widest: int, data: ReportData) -> str:
    cards = "\n".join(_card(model, widest, data) for model in models if model.stack)
    return f'<div class="stacks">{cards}</div>'


def _card(model: FinishedModel, widest: int, data: ReportData) -> str:
    name = f"{model.rank}" if model.width is None else f"×{model.width:g}"
    kind = " recommended" if model.recommended else ""
    mark = f" {tag('recommended')}" if model.recommended else ""
    dearest = max(map(_share, model.stack))
    return (
        f'<div class="stack{kind}"><h3>{name} · <code>{text(model.id)}</code>{mark}</h3>\n'
        f'<p class="soft small">{percent(model.validation.value)}, '
        f"{_latencies(model)}</p>\n"
        f'<div class="layer heads"><span></span><span>{model.resolution} px input</span>'
        f'<span class="share">{_share_heading(model, data)}</span></div>\n'
        + "\n".join(_layer(block, widest, dearest) for block in model.stack)
        + "</div>"
    )


def _latencies(model: FinishedModel) -> str:
    return ", ".join(
        f"{latency(found.usual_ms)} ({text(found.provenance)} table)" for found in model.latencies
    )


def _layer(block: StackBlock, widest: int, dearest: float) -> str:
    width = max(6, round(BAR * math.sqrt(block.out_channels / widest)))
    kind = f"{block.op} se" if "SE" in block.label.split() else block.op
    share = _share(block)
    return (
        f'<div class="layer" title="{text(_hover(block))}">'
        f'<span class="box {kind}" style="width:{width}px"></span>'
        f'<span class="label">{text(_label(block))}</span>'
        f'<span class="share"><i style="width:{100 * share / dearest:.0f}%"></i>'
        f"<b>{100 * share:.0f} %</b></span>"
        "</div>"
    )


def _share(block: StackBlock) -> float:
    """Of the latency; of the MACs where the table does not tell."""
    return block.macs_share if block.latency_share is None else block.latency_share


def _label(block: StackBlock) -> str:
    if block.op == "classifier":
        return f"{block.label} → {block.out_channels}".strip()
    outputs = f"{block.out_channels}ch"
    stride = f"s{block.stride}" if block.stride > 1 else ""
    return " ".join(part for part in (block.label, outputs, stride) if part)


def _hover(block: StackBlock) -> str:
    share = block.latency_share
    latency_part = "" if share is None else f", {percent(share)} of the blocks' latency"
    return (
        f"{block.place}: {NAMES.get(block.op, block.op)}, input {block.size} × {block.size}, "
        f"{percent(block.macs_share)} of MACs{latency_part}"
    )


def _share_heading(model: FinishedModel, data: ReportData) -> str:
    if model.stack[0].latency_share is None:
        return "MACs"
    return "latency*" if data.facts.devices[0].estimated else "latency"


def _key(models: Iterable[FinishedModel], data: ReportData) -> str:
    blocks = [block for model in models for block in model.stack]
    present = [op for op in NAMES if any(block.op == op for block in blocks)]
    items = [f'<li><span class="box {op}"></span>{text(NAMES[op])}</li>' for op in present]
    if any("SE" in block.label.split() for block in blocks):
        items.append(
            '<li><span class="box inverted_residual se"></span>with squeeze-and-excitation</li>'
        )
    told = all(block.latency_share is not None for block in blocks)
    device = data.facts.devices[0]
    estimated = " (* estimated)" if device.estimated and told else ""
    on = f" on {text(device.short)}" if len(data.facts.devices) > 1 else ""
    share = f"latency{on}{estimated}" if told else "MACs"
    return (
        "<p>Input at the top. A box is a block, as wide as the square root of its output channels. "
        "k: kernel, e: expand ratio, SE: squeeze-and-excitation, ch: output channels, s2: halves "
        f"the resolution. On the right: share of the blocks' {share}.</p>\n"
        f'<ul class="key">{"".join(items)}</ul>'
    )
