"""Reads from stdin what a program wrote to a terminal, and prints what the terminal shows then.

usage: screen.py COLUMNS
"""

import sys

import pyte

screen = pyte.Screen(int(sys.argv[1]), 24)
pyte.ByteStream(screen).feed(sys.stdin.buffer.read())
print("\n".join(line.rstrip() for line in screen.display).rstrip())
