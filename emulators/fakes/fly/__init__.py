"""A small Fly Machines API: one app's machines, each of which runs its image as a process of this host.

`python -m emulators.fakes.fly` serves it. No official emulator exists. https://docs.machines.dev
"""
