"""The load on an MLLP listener, in a separate process: senders that each wait for their acknowledgement.

`driver.py PORT CONNECTIONS SECONDS [RATE]` sends as fast as the answers come, or RATE messages a second over all
connections. With RATE, a message's time counts from its due time, so that a stalled server cannot hide its queue. Each
message books a new patient and appointment. Prints `{"sent", "rate", "p50_ms", "p99_ms", "run", "started_at"}`; `--due
FILE` gets each message's due time, by placer number.
"""

import argparse
import asyncio
import json
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop

SIU = (
    "MSH|^~\\&|RAMSOFT|FAC01|SUITE|NORTHSIDE|20261125093000-0500||SIU^S12|{n}|P|2.3.1||||||UNICODE UTF-8\r"
    "SCH|{n}^RAMSOFT|A{n}^RAMSOFT|||||CT-HEAD^CT Head^99STUDYTYPE||30|min^minutes^ISO+"
    "|^^30^{start}^{end}||||||||||||||30^SCHEDULED^99PS\r"
    "PID|1|{n}^^^NORTHSIDE|{n}^^^NORTHSIDE||Roe^Jane^A||19800229|F|||12 Elm St^^Toronto^ON^M5V1A1^CA"
    "||(416)555-0100^PRN^PH^p{n}@example.org|||||ACC{n}\r"
    "PV1|1|O|RADIOLOGY^CT1^^FAC01|||||1001^Miller^Ann||||||||||||V{n}\r"
    "RGS|1|A\r"
    "AIS|1|A|CT-HEAD^CT Head^99STUDYTYPE|{start}|||30|min\r"
    "AIG|1|A|BLUME CT^BLUME CT|CT\r"
    "AIL|1|A|RADIOLOGY^CT1^^FAC01\r"
)
FIRST_START = datetime(2030, 12, 1, tzinfo=UTC)
"""Far in the future, so that a reminder or confirmation is still due whenever this runs."""
HALF_AN_HOUR = timedelta(minutes=30)
HL7_TIME = "%Y%m%d%H%M%S+0000"
HALF_HOURS = 200_000
"""A resource has one appointment at a time, as in a hospital: each message books the next half hour."""


def booking(placer: str, number: int = 0) -> bytes:
    """The message that books the half hour ``number`` for a new patient."""
    start = FIRST_START + number % HALF_HOURS * HALF_AN_HOUR
    times = {"start": start.strftime(HL7_TIME), "end": (start + HALF_AN_HOUR).strftime(HL7_TIME)}
    return SIU.format(n=placer, **times).encode()


class Load:
    """The state that the senders share."""

    def __init__(self, port: int, connections: int, seconds: float, rate: float | None) -> None:
        self.port, self.connections, self.seconds, self.rate = port, connections, seconds, rate
        self.run = f"{time.time_ns() // 1000 % 10**10:010d}"
        self.due: dict[str, float] = {}
        self.milliseconds: list[float] = []
        self.refused = 0
        self.started = 0.0

    async def drive(self) -> None:
        self.started = time.time()
        await asyncio.gather(*(self._sender(number) for number in range(self.connections)))

    async def _sender(self, first: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        number = first
        while True:
            if self.rate is None:
                due = time.time()
            else:
                due = self.started + number / self.rate
                await asyncio.sleep(due - time.time())
            if due - self.started >= self.seconds:
                break
            placer = f"{self.run}{number:07d}"
            writer.write(b"\x0b" + booking(placer, number) + b"\x1c\r")
            answer = await reader.readuntil(b"\x1c\r")
            self.milliseconds.append((time.time() - due) * 1000)
            self.due[placer] = due
            if b"MSA|AA|" not in answer:
                raise RuntimeError(f"not accepted: {answer[-200:]!r}")
            number += self.connections
        writer.close()

    def report(self) -> dict[str, float | str]:
        if not self.milliseconds:
            raise RuntimeError(f"nothing was acknowledged within {self.seconds:g} s on port {self.port}")
        cuts = statistics.quantiles(self.milliseconds * (2 if len(self.milliseconds) == 1 else 1), n=100)
        return {
            "sent": len(self.milliseconds),
            "rate": len(self.milliseconds) / (time.time() - self.started),
            "p50_ms": cuts[49],
            "p99_ms": cuts[98],
            "run": self.run,
            "started_at": self.started,
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("connections", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("rate", type=float, nargs="?")
    parser.add_argument("--due", type=Path)
    options = parser.parse_args()
    load = Load(options.port, options.connections, options.seconds, options.rate)
    uvloop.run(load.drive())
    print(json.dumps(load.report()))
    if options.due:
        options.due.write_text(json.dumps(load.due))
