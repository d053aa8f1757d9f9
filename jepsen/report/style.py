"""How pages look: one style sheet and one script, inlined. Colours are those that colour-blind people tell apart.

Blue for what is well, orange for what certainly did not happen, purple for what nobody knows, grey for faults, green
for leaders; crimson only for a broken promise. Shapes differ as well as colours.
"""

import base64
import hashlib

from jepsen.report.markup import Markup, element

_LIGHT = """
--paper:#fff;--panel:#f6f7f9;--ink:#1b2330;--soft:#5a6575;--line:#dde1e7;--faint:#eef0f3;
--ok:#2f6fa8;--failed:#d5680b;--unknown:#8338ad;--fault:#6b7583;--fault-ink:#fff;--shade:#8a94a3;
--leader:#0b7d62;--leader-ink:#fff;--bad:#b3123a;--bad-paper:#fdf0f3;--good:#1f6099;--good-paper:#eef5fb;
--doubt:#8338ad;--doubt-paper:#f7f0fb;
"""
_DARK = """
--paper:#12161c;--panel:#1a2029;--ink:#e6eaf0;--soft:#9aa5b4;--line:#2f3845;--faint:#222a34;
--ok:#62a5dd;--failed:#f2953f;--unknown:#c48ae6;--fault:#8a96a6;--fault-ink:#12161c;--shade:#9aa5b4;
--leader:#3fbf9b;--leader-ink:#0d1a16;--bad:#ff6f8e;--bad-paper:#2e161d;--good:#7bb8ea;--good-paper:#152433;
--doubt:#c48ae6;--doubt-paper:#271a30;
"""
_BASE = """
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
 font:15px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1240px;margin:0 auto;padding:24px 32px 64px}
h1,h2,h3,p,ul,dl,dd,pre,figure{margin:0}
h2{font-size:21px;line-height:1.3;margin:44px 0 12px;padding-top:16px;border-top:1px solid var(--line)}
h3{font-size:15px;margin:22px 0 4px;position:sticky;left:0}
a{color:var(--good)}
code,pre,.mono{font-family:ui-monospace,"Cascadia Mono",Menlo,"DejaVu Sans Mono",monospace;font-size:13px}
.soft,.note,.nothing{color:var(--soft)}
.note{font-size:13px;margin-top:6px}
.scroll{overflow-x:auto}
.banner{display:flex;gap:20px;align-items:center;padding:20px 24px;border-left:8px solid;border-radius:4px}
.banner h1{font-size:32px;line-height:1.15;letter-spacing:-.01em}
.banner p{margin-top:4px;font-size:16px;color:var(--ink)}
.banner svg{width:56px;height:56px;flex:none}
.banner path{fill:none;stroke:currentColor;stroke-width:7;stroke-linecap:round;stroke-linejoin:round}
.passed{color:var(--good)}.broken{color:var(--bad)}.undecided{color:var(--doubt)}
.banner.passed{background:var(--good-paper)}.banner.broken{background:var(--bad-paper)}
.banner.undecided{background:var(--doubt-paper)}
dl.facts{display:flex;flex-wrap:wrap;gap:14px 44px;margin:22px 0}
dl.facts dt{font-size:13px;color:var(--soft)}
dl.facts dd{font-size:16px;font-weight:600;overflow-wrap:anywhere}
.replay{display:flex;align-items:stretch;border:1px solid var(--line);border-radius:4px;background:var(--panel)}
.replay code{flex:1;padding:10px 14px;overflow-wrap:anywhere;user-select:all}
button{font:inherit;font-size:14px;color:var(--ink);background:var(--paper);border:0;border-left:1px solid var(--line);
 padding:0 16px;min-width:84px;cursor:pointer;border-radius:0 4px 4px 0}
button:hover{background:var(--faint)}
button:focus-visible,summary:focus-visible,a:focus-visible{outline:2px solid var(--good);outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:14px}
table.narrow{width:auto;min-width:min(100%,520px)}
th{font-weight:600;text-align:left;color:var(--soft);font-size:13px;vertical-align:bottom}
th,td{padding:6px 14px 6px 0;border-bottom:1px solid var(--line)}
td{vertical-align:top;overflow-wrap:anywhere}
th.n,td.n{text-align:right;white-space:nowrap;overflow-wrap:normal}
td.keep{white-space:nowrap}
td.wide{min-width:240px}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:0 48px}
.columns>*{min-width:0}
.verdict{display:inline-flex;gap:6px;align-items:baseline;font-weight:600;white-space:nowrap}
.card{border:1px solid var(--bad);border-left-width:6px;border-radius:4px;padding:16px 20px;margin:16px 0}
.card h3{margin:0 0 2px;font-size:17px;position:static}
.card .text{max-width:80ch;margin-bottom:10px;overflow-wrap:anywhere}
.kind{color:var(--bad)}
details{margin-top:10px}
summary{cursor:pointer;color:var(--soft);font-size:14px}
.legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:2px 18px;font-size:13px;color:var(--soft);
 margin-bottom:6px;position:sticky;left:0}
.legend li{display:flex;gap:6px;align-items:center}
.swatch{width:18px;height:12px;flex:none}
.share{display:block;width:100%;min-width:72px;height:12px}
.bad-text{color:var(--bad);font-weight:600}
"""
_CHART = """
.charts{position:relative}
.chart{display:block;width:100%;min-width:940px;height:auto;font-size:12px;overflow:visible}
.chart text{fill:var(--ink)}
.chart .figure,.chart .axis-name,.chart .group,.chart .row-note{fill:var(--soft)}
.chart .group{font-size:12px}
.middle{text-anchor:middle}.end,.row-name,.row-note{text-anchor:end}
.row-note{font-size:11px}
.grid,.base,.grid-faint,.moment{stroke:var(--line);fill:none;stroke-width:1}
.base{stroke:var(--soft)}.grid-faint{stroke:var(--faint)}
.moment{stroke-dasharray:1 3;stroke:var(--soft);opacity:.55}
.window{fill:var(--shade);fill-opacity:.22}
.recovery{fill:var(--shade);fill-opacity:.09}
.window-empty{fill:none;stroke:var(--soft);stroke-width:.8;stroke-dasharray:2 3}
.change{stroke:var(--leader);stroke-width:1;opacity:.75;stroke-dasharray:4 3;fill:none}
.final{stroke:var(--ink);stroke-width:1;fill:none}
.fault{fill:var(--fault)}
.fault-empty{fill:var(--paper);stroke:var(--fault);stroke-dasharray:3 2}
.chart .bar-label{fill:var(--fault-ink)}
.chart .bar-label-empty{fill:var(--soft)}
.role-leader{fill:var(--leader)}
.chart .role-leader+.bar-label{fill:var(--leader-ink)}
.role-follower,.role-candidate,.role-down{fill:none;stroke-width:2;stroke:var(--soft)}
.role-follower{opacity:.5}
.role-candidate{stroke:var(--leader);stroke-width:6;stroke-dasharray:2 2}
.role-down{stroke:var(--bad);stroke-dasharray:2 4}
.strip{fill:var(--faint)}
.ok1,.ok2,.ok3,.ok4,.ok5,.area-ok,.op-ok{fill:var(--ok)}
.ok1{fill-opacity:.25}.ok2{fill-opacity:.42}.ok3{fill-opacity:.6}.ok4{fill-opacity:.8}
.area-ok{fill-opacity:.35}.line-ok{fill:none;stroke:var(--ok);stroke-width:1.2}
.failed1,.failed2,.failed3,.op-failed{fill:var(--failed)}.failed1{fill-opacity:.5}.failed2{fill-opacity:.75}
.unknown1,.unknown2,.unknown3,.op-unknown{fill:var(--unknown)}.unknown1{fill-opacity:.5}.unknown2{fill-opacity:.75}
.line-p50,.line-p95,.line-p99{fill:none;stroke:var(--ok);stroke-linecap:round;stroke-linejoin:round}
.line-p50{stroke-width:2.6}.line-p95{stroke-width:1.4}.line-p99{stroke-width:1;stroke-dasharray:3 2}
.dot-max{fill:var(--ok);stroke:none}
.mark-failed{stroke:var(--failed);stroke-width:1.3;fill:none}
.mark-unknown{stroke:var(--unknown);stroke-width:1.4;fill:none}
.anomaly-chart{font-size:13px}
.op-culprit{fill:var(--bad)}
.culprit-frame{fill:none;stroke:var(--bad);stroke-width:1.5}
.chart .culprit-label{fill:var(--bad);font-weight:700}
.culprit-row td{color:var(--bad);font-weight:600}
.op-cross{stroke:var(--failed);stroke-width:2}
.op-failed{fill-opacity:.5}
.op-fade{fill:url(#fade)}
.fade-from,.fade-to{stop-color:var(--unknown)}.fade-from{stop-opacity:.75}.fade-to{stop-opacity:0}
.chart .window-name{fill:var(--soft)}
.defs{position:absolute;width:0;height:0}
.cursor{position:absolute;top:0;bottom:0;width:1px;background:var(--ink);pointer-events:none;display:none}
.cursor span{position:absolute;display:block;width:max-content;margin-left:6px;padding:2px 8px;border-radius:3px;
 background:var(--ink);color:var(--paper);font-size:13px}
.cursor.flip span{margin-left:0;transform:translateX(calc(-100% - 6px))}
tr.run td{border-bottom:0;padding-bottom:0}
.cell{display:block;font-size:13px;text-decoration:none;color:inherit;padding:4px 8px;border-radius:3px;
 white-space:nowrap}
.cell.passed{background:var(--good-paper)}.cell.broken{background:var(--bad-paper)}
.cell.undecided{background:var(--doubt-paper)}.cell.untried{background:var(--panel)}
.cell b{font-size:14px}.cell small{display:block;color:var(--soft);font-size:12px}
.cell.passed b{color:var(--good)}.cell.broken b{color:var(--bad)}.cell.undecided b{color:var(--doubt)}
"""
_NARROW = """
@media (max-width:640px){main{padding:12px 16px 48px}.banner{padding:14px 16px;gap:14px}.banner h1{font-size:25px}
.banner svg{width:36px;height:36px}.banner p{font-size:15px}.replay{flex-direction:column}
button{border-left:0;border-top:1px solid var(--line);min-height:44px;border-radius:0 0 4px 4px}
.card{padding:12px 14px}dl.facts{gap:12px 28px}}
@media print{.cursor,button{display:none}}
"""
COLOURS = f":root{{color-scheme:light dark;{_LIGHT}}}@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
STYLE = f"{COLOURS}{_BASE}{_CHART}{_NARROW}"

SCRIPT = """
"use strict";
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try { await navigator.clipboard.writeText(code.textContent); }
    catch { getSelection().selectAllChildren(code); document.execCommand("copy"); }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
const charts = document.querySelector(".charts");
if (charts) {
  const cursor = document.createElement("div");
  const label = document.createElement("span");
  cursor.className = "cursor";
  cursor.append(label);
  charts.append(cursor);
  const view = JSON.parse(charts.dataset.view);
  const faults = [...charts.querySelectorAll(".fault-bar")].map((bar) => bar.dataset);
  charts.addEventListener("pointermove", (event) => {
    const chart = charts.querySelector(".chart").getBoundingClientRect();
    const scale = chart.width / view.width;
    const share = ((event.clientX - chart.left) / scale - view.left) / (view.right - view.left);
    if (share < 0 || share > 1) { cursor.style.display = "none"; return; }
    const at = share * view.seconds;
    const held = faults.filter((fault) => Number(fault.from) <= at && at <= Number(fault.to));
    label.textContent = [at.toFixed(view.seconds < 300 ? 2 : 1) + " s", ...held.map((fault) => fault.name)].join(" · ");
    cursor.style.display = "block";
    const box = charts.getBoundingClientRect();
    cursor.style.left = event.clientX - box.left + "px";
    label.style.top = event.clientY - box.top - 34 + "px";
    cursor.classList.toggle("flip", share > 0.75);
  });
  charts.addEventListener("pointerleave", () => { cursor.style.display = "none"; });
}
"""


def document(title: str, *body: object) -> str:
    """Return a whole page that loads nothing and runs nothing but the style and the script above."""
    policy = (
        f"default-src 'none'; style-src '{_digest(STYLE)}'; script-src '{_digest(SCRIPT)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return "<!doctype html>\n" + element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=policy),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="referrer", content="no-referrer"),
            element("title", title),
            element("style", Markup(STYLE)),
        ),
        element("body", element("main", *body), element("script", Markup(SCRIPT))),
        lang="en",
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
