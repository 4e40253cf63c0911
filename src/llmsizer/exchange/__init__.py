"""Others' benchmark files in and out, one file per format.

Everything that comes in is converted to the definitions of ``facts.record_parts``; each record says in ``origin`` which
file it is from and what was converted. A file is taken whole or refused in one line.
"""
