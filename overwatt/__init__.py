"""Overwatt: data centers in public imagery, the power and AI compute they could hold, and what was declared.

The public functions are listed in `__init__.pyi` and imported when they are first used, so `import overwatt` is quick
and needs torch only where a network runs. docs/quickstart.ipynb goes from an image to the report with them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
