"""Frame and style sheet of pages. Nothing is fetched; light and dark follow the reader's setting."""

STYLE = """
:root { color-scheme: light dark;
  --ink: #1d1d1f; --quiet: #636369; --ground: #ffffff; --line: #d9d9de; --soft: #f4f4f7; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8ea; --quiet: #a0a0a8; --ground: #17181b; --line: #3a3b41; --soft: #222328; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 2.5rem 1.25rem 4rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.6 system-ui, "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 2.6rem 0 .6rem; }
p { max-width: 44rem; margin: .6rem 0; overflow-wrap: anywhere; white-space: pre-line; }
.lead { font-size: 1.12rem; color: var(--quiet); }
figure { margin: 1.2rem 0; padding: .5rem; background: #fff; border: 1px solid var(--line); border-radius: 6px;
  overflow-x: auto; }
figure > div { min-width: 42rem; }
figcaption { color: #55555c; font-size: .9rem; padding: .3rem .6rem; }
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .94rem; font-variant-numeric: tabular-nums; }
caption { caption-side: top; text-align: left; color: var(--quiet); padding-bottom: .4rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; border-bottom-width: 2px; }
td.number { text-align: right; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem; overflow-x: auto;
  white-space: pre-wrap; overflow-wrap: anywhere;
  font: .9rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: 1rem 0 0; font-size: .93rem; }
a { color: inherit; text-underline-offset: .2em; }
.callout { border: 1px solid var(--line); border-left: .45rem solid var(--quiet); border-radius: 6px;
  padding: .2rem 1.2rem .6rem; margin: 1.6rem 0; background: var(--soft); }
.callout h2 { font-size: 1.5rem; margin: .8rem 0 .3rem; }
.callout li { margin: .25rem 0; max-width: 44rem; }
.callout.good { border-left-color: #009e73; }
.callout.warn { border-left-color: #e69f00; }
.callout.bad { border-left-color: #d55e00; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.2rem, 1fr)); gap: 1rem 1.6rem;
  margin: 1.4rem 0; }
.numbers > div { display: grid; grid-template-rows: auto 1fr auto auto auto; }
.numbers .label { font-size: .93rem; line-height: 1.3; }
.numbers .value { font-size: 1.8rem; font-weight: 600; line-height: 1.2; }
.numbers .note { color: var(--quiet); font-size: .85rem; line-height: 1.35; }
.numbers .note:last-child { min-height: 2.7em; }
.numbers .scale { position: relative; height: .5rem; margin: .25rem .25rem .2rem 0; background: var(--soft);
  border: 1px solid var(--line); border-radius: .25rem; }
.numbers .scale i { position: absolute; top: 0; bottom: 0; border-radius: .2rem; }
.numbers .range { background: #56b4e9; opacity: .6; min-width: 2px; }
.numbers .here { width: .34rem; margin-left: -.17rem; background: #0072b2; top: -.12rem !important;
  bottom: -.12rem !important; }
.numbers .there { width: 2px; background: var(--quiet); top: -.22rem !important; bottom: -.22rem !important; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--quiet); }
@media (max-width: 34rem) {
  body { padding: 1.2rem .8rem 3rem; }
  h1 { font-size: 1.5rem; }
  .callout { padding: .1rem .8rem .4rem; }
}
@media print {
  :root { --ink: #000; --quiet: #444; --ground: #fff; --line: #bbb; --soft: #fff; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  figure, table, pre { break-inside: avoid; }
  figure > div { min-width: 0; }
  h2 { break-after: avoid; }
  .modebar { display: none; }
}
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
{script}
</head>
<body>
<h1>{title}</h1>
{lead}
{contents}
{sections}
</body>
</html>
"""
