"""The report and the pages of visits: HTML files that open anywhere and request nothing.

In: `page.ReportData`, the tables of a run with pictures and facts; `visits.VisitsData`, rows of the inspection list.
Out: the text of one file. Read `page.render_report` and `visits.render_visits` first; `context` and `visit_views` turn
tables into values, `rasters` and `figures` make pictures, `wording` holds the text, `fitting` cuts it to size.
"""
