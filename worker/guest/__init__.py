"""The guest image's recipe: kernel, initramfs and read-only root, made of Debian packages, wheels and the worker.

It runs on Debian 12, as root or not. Nothing that runs inside the guest imports it.
"""
