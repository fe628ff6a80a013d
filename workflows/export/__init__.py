"""The inspection list as CSV, XLSX, GeoPackage, KML and GeoJSON. Read `inspection_list.run` first."""
