"""The agent that measures: what runs on the board, for Python 3.6 and newer.

Nothing here imports the rest of `nas`, and nothing but the standard library is needed beside the
runtime that is measured. `nas.devices.bundle` packs this folder into the zip file that
`python3 bundle.zip` runs; on this machine it is the same file in a process of its own.
"""
