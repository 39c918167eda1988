"""Scans in, files out: what `cmrgz inpaint` and `cmrgz generate` do.

    scans.py      which scans are meant
    hiding.py     what to hide of each
    refining.py   a scan on a finer grid, whose new planes are to be drawn
    asked.py      what is asked of the scans that are drawn
    choice.py     a model that was chosen and checked, but not loaded
    refused.py    one refused scan of several
    context.py    which axes of a scan a model leaves out
    files.py      the names of the outputs, checked before any work, and written all or none
    sidecar.py    what each output says of itself
    resume.py     which results are there, whole, and made as they would be made now
    inpaint.py    scans -> inpainted scans
    like.py       a scan that others are generated like
    generate.py   scans from nothing, or from a part of one
    pages.py      pages of results in the viewer
    found.py      what a result was made of, found again
    view.py       a result, or any scan -> a page

The first two do not import torch, so that a wrong command line is refused at once, nor do the last three.
"""
