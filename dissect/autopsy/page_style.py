"""Frame and style sheet of pages. Nothing is fetched; light and dark follow the reader's setting."""

from dissect.autopsy.picker.embed import web

STYLE = web("base.css")

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
{widgets}
</body>
</html>
"""
