# The public functions, in the order in which the data flows; `lazy_loader` reads this file.
from . import aoi, models, pipeline, workflows
from .aoi.area import Area, area_from_setting
from .workflows.api import Detection, cut_tiles, detect, evaluate, read_registries, read_run, run, train
from .models.detector.card import ModelCard
from .pipeline.detection.vectorization import vectorize_tile
from .pipeline.detection.footprints import merge_footprints
from .pipeline.sites.clustering import cluster_sites
from .pipeline.sites.thermal_anomaly import thermal_anomaly
from .pipeline.power.sites import estimate_power
from .pipeline.compute.sites import estimate_compute
from .pipeline.compute.single_site import estimate_site
from .pipeline.declared.registry import normalize_registry
from .pipeline.declared.deduplication import merge_registries
from .pipeline.coverage import assumed_looked_at, looked_at_share
from .pipeline.reconcile.ledger import reconcile
from .pipeline.inspection.listing import ranked_list
from .pipeline.inspection.ranking import rank_discrepancies
from .pipeline.inspection.candidates import inspection_candidates
from .pipeline.inspection.plan import plan_inspections
from .pipeline.balance.material_balance import material_balance
from .pipeline.change.run_comparison import compare_runs
from .pipeline.report.page import ReportData, render_report
