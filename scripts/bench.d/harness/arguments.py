"""Types of command line arguments that modes share."""

import argparse


def positive(text):
    number = int(text.replace("_", "").replace(",", ""))
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
