"""The report: one HTML file that opens anywhere and requests nothing.

In: `page.ReportData`, the tables of a run with pictures and facts. Out: the text of one page. Read
`page.render_report` first; `context` turns tables into values, `rasters` and `figures` make pictures, `wording` holds
the text.
"""
