"""Schedule: find jobs that all else has missed, and repair them."""

from robotchat.aws.sweep import ScheduledSweep

handler = ScheduledSweep()
