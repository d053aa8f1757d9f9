"""What every room stands on: clock, chance, disk, network, errors, codec, limits, telemetry.

Nothing here knows of services, keys or Raft, and nothing here imports another room.
"""
