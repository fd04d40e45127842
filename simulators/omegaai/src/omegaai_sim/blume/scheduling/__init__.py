"""Free times, bookings, moves and cancellations: Blume's own, or through the suite's scheduling API by a switch."""
