"""The messages by which a patient asks for something in Blume."""

HEAD = "MSH|^~\\&|SUITE|NORTHSIDE|RAMSOFT|FAC01|20261125093000-0500||{kind}|{number}|P|2.3.1||||||UNICODE UTF-8"
PLACER = "B0123456789AB"


def asked(kind: str = "SIU^S12", number: str = "R1", **more: str) -> bytes:
    given = {
        "placer": PLACER, "start": "20261201100000-0500", "resource": "BLUME CT", "study": "CT-HEAD",
        "patient": "4711", "priority": "SCHEDULED STATUS", **more,
    }  # fmt: skip
    timing = f"^^30^{given['start']}^^{given['priority']}"
    head = HEAD.format(kind=kind, number=number)
    pid = f"PID|1||{given['patient']}^^^NORTHSIDE"
    if kind.startswith("SIU"):
        lines = [
            head, f"SCH|{given['placer']}^SUITE||||||||||{timing}||||||||||||||30^SCHEDULED^99PS", pid, "RGS|1|A",
            f"AIS|1|A|{given['study']}", f"AIG|1|A|{given['resource']}",
        ]  # fmt: skip
    else:
        control = more.get("control", "NW")
        lines = [
            head, pid, f"ORC|{control}|{given['placer']}^SUITE|||||{timing}|||||||||30^SCHEDULED^99PS",
            f"OBR|1|{given['placer']}^SUITE||{given['study']}|||||||||||||||{given['resource']}||||||||{timing}",
        ]  # fmt: skip
    return "\r".join(lines).encode() + b"\r"


async def shown(bench, placer: str = PLACER) -> dict:
    return (await bench.api.get(f"/api/appointments/{placer}")).json()


async def confirmed(bench) -> str:
    placer = await bench.book(start="2026-12-01T10:00:00-05:00")
    await bench.act(placer, "confirmed")
    return placer


def wish(placer: str, **more: str) -> bytes:
    return asked("SIU^S13", "R9", placer=placer, start="20261202110000-0500", **more)
