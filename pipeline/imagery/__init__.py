"""From stored numbers to physical ones, and from several acquisitions to one picture.

In: pixel values and the sensor's profile. Out: reflectance or surface temperature, composites, scenes that cover an
area. Read `radiometry.to_unit` first.
"""
