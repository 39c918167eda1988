"""What plugins and kits are tested with, for the tests of this project and of others.

The conformance suite on a registered name, from the command line and from pytest; distributions whose exact answers
are known, for samplers and decodings; accounts of memory; and a GPU without a GPU, which counts what a model asks of
one. The doctor, the survey and the template of `cmrgz plugins` are in `cmrgz.authoring`.
"""
