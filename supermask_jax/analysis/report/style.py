"""The look of the page, in light and dark, on a phone and on paper; and its script."""

from __future__ import annotations

# After Okabe and Ito, darker on light and lighter on dark: each has a contrast of 4.5 to the page,
# and any two are told apart by the colour-blind, as test_report_parts.py computes.
LIGHT = {
    "page": "#f7f7f5", "panel": "#ffffff", "ink": "#1a1d21", "muted": "#565d66",
    "grid": "#e3e5e8", "rule": "#c9cdd2", "hidden": "#b4b9c0", "on": "#ffffff",
    "s0": "#0068b3", "s1": "#c04a00", "s2": "#00654b", "s3": "#a02f86", "s4": "#5c3d07",
    "s5": "#253041",
}  # fmt: skip
DARK = {
    "page": "#121519", "panel": "#1a1e24", "ink": "#e8eaed", "muted": "#a3abb5",
    "grid": "#2b3138", "rule": "#434b55", "hidden": "#5d6670", "on": "#14171b",
    "s0": "#63b3f5", "s1": "#ff9350", "s2": "#45e0ae", "s3": "#c274b6", "s4": "#ece04a",
    "s5": "#ccd3df",
}  # fmt: skip


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


CSS = (
    f":root{{color-scheme:light dark;{_variables(LIGHT)}--kept:var(--s0);--inverted:var(--s1)}}"
    f"@media (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}"
    f"@media print{{:root{{color-scheme:light;{_variables(LIGHT)}--page:#fff}}}}"
    + "".join(f".s{i}{{color:var(--s{i})}}" for i in range(6))
    + """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,
"Segoe UI",Roboto,"Noto Sans",sans-serif;font-variant-numeric:tabular-nums;
overflow-wrap:break-word;-webkit-text-size-adjust:100%}
main,header,footer{max-width:1180px;margin:0 auto;padding:0 20px}
header{padding-top:36px}
.kicker{margin:0;color:var(--muted);font-size:.8rem;letter-spacing:.08em;text-transform:uppercase}
h1{margin:.1em 0 .2em;font-size:clamp(1.6rem,4.5vw,2.4rem);line-height:1.15;letter-spacing:-.01em;
overflow-wrap:anywhere}
h2{margin:2.4em 0 .5em;padding-top:.5em;border-top:1px solid var(--rule);font-size:1.3rem;
letter-spacing:-.005em}
h3{margin:0 0 .5em;font-size:.95rem;font-weight:600}
.group{margin-top:3em;padding-top:.6em;border-top:3px solid var(--ink);font-size:1.6rem;
overflow-wrap:anywhere}.group+h2{margin-top:.8em;padding:0;border:0}
.verdict{max-width:46em;margin:0 0 1.4em;font-size:1.08rem}
.state{display:inline-block;margin:0 0 1.2em;padding:.35em .8em;border:1px solid var(--s1);
border-left-width:5px;border-radius:6px;background:var(--panel)}
.numbers{display:grid;grid-template-columns:repeat(6,1fr);gap:1px;margin:0;
border:1px solid var(--rule);border-radius:10px;overflow:hidden;background:var(--grid)}
.numbers div{padding:14px 16px;background:var(--panel)}
.numbers dt{color:var(--muted);font-size:.82rem}
.numbers dd{margin:0;font-size:1.45rem;font-weight:600;line-height:1.3;overflow-wrap:anywhere}
.numbers dd small{display:block;font-size:.8rem;font-weight:400;color:var(--muted)}
nav{display:flex;flex-wrap:wrap;gap:.2em 1.2em;margin:1.2em 0 0;font-size:.9rem}
a{color:var(--s0);text-underline-offset:.15em}
.note,figcaption{max-width:60em;color:var(--muted);font-size:.86rem}
.note{margin:.3em 0 .8em}figcaption{margin-top:.5em}
.missing{padding:.5em .8em;border:1px dashed var(--rule);border-radius:6px}
figure{margin:0}
.charts>figure,.split>figure{container-type:inline-size}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));gap:16px}
.charts.wide{grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr))}
.charts.small{grid-template-columns:repeat(auto-fill,minmax(min(100%,260px),1fr))}
.charts>figure,.split>figure,.panel{min-width:0;padding:14px 14px 12px;border:1px solid var(--grid);
border-radius:10px;background:var(--panel)}
.charts.wide+.caption{margin-top:16px}
.panel{margin-bottom:16px}
.split{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:24px;
align-items:start}
.split>div{min-width:0}
.chart{display:block;width:100%;height:auto;overflow:visible}
.chart text{font-size:12px;fill:var(--muted)}.small .chart text{font-size:11px}
@container (max-width:390px){.chart text{font-size:13px}}
@container (min-width:470px){.chart text{font-size:10.5px}}
@container (min-width:310px){.small .chart text{font-size:9.5px}}
.chart .end{font-weight:600;fill:currentColor;paint-order:stroke;stroke:var(--panel);
stroke-width:3px;stroke-linejoin:round}
.chart .count{fill:var(--ink)}.chart .strong{fill:var(--on)}
.grid{stroke:var(--grid);stroke-width:1}.axis{stroke:var(--rule);stroke-width:1}
.line{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round}
.grey{color:var(--muted)}
.way{fill:none;stroke:currentColor;stroke-width:1.2;opacity:.55}
.bar{stroke:currentColor;stroke-width:1.6}
.band{fill:currentColor;opacity:.17}.dot{fill:currentColor;stroke:var(--panel);stroke-width:1.5}
.faint{fill:currentColor;opacity:.45}
.fill.kept,.cell.kept,.swatch.kept{fill:var(--kept)}
.fill.inverted,.cell.inverted,.swatch.inverted{fill:var(--inverted)}
.fill.hidden{fill:var(--hidden)}.swatch.hidden{fill:var(--panel);stroke:var(--rule)}
.cell{stroke:var(--grid);stroke-width:.5}
.cut{stroke:var(--ink);stroke-width:1.4;stroke-dasharray:4 3}
.hit>rect:not(.cell):not(.band){fill:transparent}
.cross{stroke:var(--muted);stroke-width:1;opacity:0}.hit:hover .cross{opacity:.7}
.hit:hover>.cell{stroke:var(--ink);stroke-width:1.5}
.pixels{image-rendering:pixelated}
.legend{display:flex;flex-wrap:wrap;gap:.2em 1.3em;margin:.2em 0 .9em;padding:0;list-style:none;
font-size:.86rem}
.legend li{display:flex;align-items:baseline}
.legend svg{flex:none;width:24px;height:12px;margin-right:.5em;vertical-align:-1px;overflow:visible}
.tiles{display:flex;flex-wrap:wrap;gap:14px}
.tile{width:min-content;min-width:84px}.tile figcaption{margin-top:.25em;line-height:1.3}
.tile img,.sheet{display:block;border:1px solid var(--rule)}.sheet{max-width:100%;height:auto}
.scroll{overflow-x:auto;margin:0 0 16px}
table{border-collapse:collapse;width:100%;font-size:.88rem}
.caption{margin:0 0 .3em;color:var(--muted);font-size:.86rem}
th,td{padding:.34em .6em;border-bottom:1px solid var(--grid);text-align:right;white-space:nowrap}
th:first-child,td:first-child{padding-left:0;text-align:left}
thead th{color:var(--muted);font-weight:600;border-bottom-color:var(--rule)}
tbody th{font-weight:500}
th:first-child{position:sticky;left:0;background:var(--page)}
tfoot th,tfoot td{font-weight:600;border-bottom:0}
td small{display:block;font-weight:400;color:var(--muted)}
.text td{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:7em}
.text th{text-align:left}
mark{background:none;color:var(--s1);font-weight:600}
details{margin:0 0 14px}
summary{padding:.4em 0;cursor:pointer;font-weight:600}
pre{margin:0 0 16px;padding:12px 14px;overflow-x:auto;border:1px solid var(--grid);
border-radius:10px;background:var(--panel);font-size:.82rem;white-space:pre-wrap;
overflow-wrap:anywhere}
code{overflow-wrap:anywhere}
footer{padding-top:2.5em;padding-bottom:3em;color:var(--muted);font-size:.86rem}
#tip{position:fixed;z-index:9;max-width:min(340px,92vw);padding:6px 10px;border-radius:6px;
background:var(--ink);color:var(--page);font-size:.8rem;line-height:1.4;white-space:pre-line;
pointer-events:none;opacity:0;transition:opacity .08s}
:focus-visible{outline:2px solid var(--s0);outline-offset:2px}
@media (max-width:900px){.numbers{grid-template-columns:repeat(3,1fr)}}
@media (max-width:520px){.numbers{grid-template-columns:repeat(2,1fr)}
main,header,footer{padding-left:14px;padding-right:14px}
header{padding-top:20px}.charts>figure,.split>figure,.panel{padding:10px 8px}
}
@media (prefers-reduced-motion:reduce){#tip{transition:none}}
@media print{@page{margin:14mm}body{font-size:11px}main,header,footer{max-width:none;padding:0}
nav,#tip{display:none}figure,.panel,tr,.numbers{break-inside:avoid}h2,h3,.legend,.note,.caption{break-after:avoid}
table{font-size:10px}.numbers{grid-template-columns:repeat(6,1fr)}
.numbers div{padding:8px}.numbers dd{font-size:1rem}
.charts{grid-template-columns:repeat(3,1fr)}.charts.wide,.split{grid-template-columns:1fr 1fr}
.charts.small{grid-template-columns:repeat(4,1fr)}.scroll{overflow:visible}
th,td{white-space:normal}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
)

# Without it the browser shows the same titles by itself.
SCRIPT = """
(function () {
  var tip = document.getElementById('tip'), shown = null;
  document.querySelectorAll('svg .hit').forEach(function (mark) {
    var title = mark.querySelector('title');
    if (!title) return;
    mark.setAttribute('data-tip', title.textContent);
    title.remove();
  });
  document.querySelectorAll('svg.chart').forEach(function (svg) {
    var title = svg.querySelector('title');
    svg.setAttribute('aria-label', title.textContent);
    title.remove();
  });
  function move(event) {
    var mark = event.target.closest ? event.target.closest('[data-tip]') : null;
    if (!mark) { tip.style.opacity = 0; shown = null; return; }
    if (mark !== shown) { tip.textContent = mark.getAttribute('data-tip'); shown = mark; }
    var box = tip.getBoundingClientRect(), x = event.clientX + 14, y = event.clientY + 14;
    if (x + box.width > innerWidth - 6) x = Math.max(6, event.clientX - box.width - 14);
    if (y + box.height > innerHeight - 6) y = Math.max(6, event.clientY - box.height - 14);
    tip.style.left = x + 'px';
    tip.style.top = y + 'px';
    tip.style.opacity = 1;
  }
  document.addEventListener('pointermove', move);
  document.addEventListener('pointerdown', move);
  document.addEventListener('scroll', function () { tip.style.opacity = 0; shown = null; }, true);
  addEventListener('beforeprint', function () {
    document.querySelectorAll('details').forEach(function (fold) { fold.open = true; });
  });
})();
"""
