"""Reading the HTML of a notebook's output: its tags, attributes and texts, and what JupyterLab's sanitizer would keep of it."""

import re
from html.parser import HTMLParser

# Of what JupyterLab 4.4 lets through in a notebook that is not trusted (its apputils' sanitizer), the part that we use.
TAGS = {
    "div",
    "table",
    "caption",
    "colgroup",
    "col",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "p",
    "strong",
    "pre",
    "span",
    "details",
    "summary",
}
ATTRIBUTES = {"style": "*", "title": "*", "scope": {"th", "td"}, "span": {"col", "colgroup"}, "colspan": {"td", "th"}}
LENGTH = r"([+]?([0-9]*[.])?[0-9]+(px|em)|0)"
STYLES = {
    "background-color": r"#[0-9a-f]+",
    "color": r"#[0-9a-f]+",
    "display": "inline-block",
    "font-size": LENGTH,
    "min-width": LENGTH,
    "vertical-align": "top",
    "border-collapse": "collapse",
    "caption-side": "top|bottom",
    "cursor": "pointer",
    "font-family": "monospace",
    "font-weight": "normal|bold",
    "height": LENGTH,
    "line-height": "[0-9]+",
    "margin": rf"({LENGTH}\s*){{1,4}}",
    "margin-left": LENGTH,
    "padding": rf"({LENGTH}\s*){{1,4}}",
    "table-layout": "fixed",
    "text-align": "left|right|center",
    "white-space": "pre|pre-wrap|normal|nowrap",
    "width": LENGTH,
}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """The tags, attributes and texts of some HTML; every tag must be closed in its turn, and be one that is let through."""

    def __init__(self, text):
        super().__init__()
        self.source = text
        self.pieces, self.tags, self.open, self.rows, self.heads, self.captions, self.summaries, self.text = (
            [],
            [],
            [],
            [],
            [],
            [],
            [],
            "",
        )
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS
        for key, value in attributes:
            assert ATTRIBUTES[key] == "*" or tag in ATTRIBUTES[key]
            if key == "style":
                self.check_style(value)
        self.tags.append(tag)
        if tag == "summary":
            self.summaries.append("")
        if tag == "tr":
            self.rows.append([])
        if tag not in VOID:
            self.open.append(tag)
            if tag in ("td", "th"):
                self.rows[-1].append("")
            if tag == "th":
                assert dict(attributes)["scope"] == ("col" if "thead" in self.open else "row")

    def check_style(self, style):
        for rule in filter(None, style.split(";")):
            word, _, value = rule.partition(":")
            assert re.fullmatch(STYLES[word], value), rule

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        self.pieces.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
        if self.open and self.open[-1] == "caption":
            self.captions.append(data)
        if "summary" in self.open:
            self.summaries[-1] += data

    @property
    def cells(self):
        """The texts of all cells."""
        return [cell for row in self.rows for cell in row]
