"""Checkpoints from one layout to another: what there is, where it goes, and writing it so that nothing is lost.

stored -> parameters -> targets -> writing. Frameworks are not needed: every layout is written as the bytes that it is.
"""
