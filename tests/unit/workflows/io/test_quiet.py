"""Warnings of a missing georeference are off while files are opened, and on again afterwards, with threads as well."""

import threading
import warnings

import pytest
from rasterio.errors import NotGeoreferencedWarning

from overwatt.workflows.io.raster_checks import quiet


def test_threads_that_overlap_leave_the_filters_as_they_were():
    before, inside, first_left = list(warnings.filters), threading.Event(), threading.Event()

    def late():
        with quiet():
            inside.set()
            first_left.wait()
            warnings.warn("open", NotGeoreferencedWarning, stacklevel=1)  # an error if the first had switched it on

    thread = threading.Thread(target=late)
    with quiet():
        thread.start()
        inside.wait()
    first_left.set()
    thread.join()
    assert warnings.filters == before
    with pytest.raises(NotGeoreferencedWarning):
        warnings.warn("open", NotGeoreferencedWarning, stacklevel=1)
