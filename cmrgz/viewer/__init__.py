"""A page that shows scans: one HTML file that holds its script, its styles and the voxels, and needs no network.

cuts.py      which voxels a page shows: all of them, or as many as it may hold
packing.py   voxels as text within a page
page.py      what is shown -> the bytes of the page
view.html    its skeleton
view.css     how it looks
view.js      what it does
"""

from cmrgz.viewer.page import Content, Layer, page

__all__ = ["Content", "Layer", "page"]
