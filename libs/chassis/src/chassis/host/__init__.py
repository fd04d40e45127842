"""What runs a service: its loops, its HTTP surface, the look at its store before the start, its certificates."""

from chassis.host.certificates import Certificate, CertificateWatch
from chassis.host.service import Check, Service, collect_seldom
from chassis.host.store_guard import Consumes, StoreGuard

__all__ = [
    "Certificate",
    "CertificateWatch",
    "Check",
    "Consumes",
    "Service",
    "StoreGuard",
    "collect_seldom",
]
